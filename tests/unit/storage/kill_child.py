"""Commits and prints for ever, to be killed: ``kill_child.py DIRECTORY RUN [early]``.

Prints a number after each commit that returned. ``early`` is the planted bug: it prints the
number before its commit, and then waits to be killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind
from aiplatform.mesh_ide.storage.sqlite.store import SqliteStore
from tests.unit.storage.making import Author, file_id, put_blob


def main() -> None:
    """Commit and print until killed."""
    run = sys.argv[2]
    is_early = sys.argv[3:] == ["early"]
    store = SqliteStore.open(Path(sys.argv[1]))
    author = Author(run)
    number = 0
    while True:
        number += 1
        text = f"{number}\n"
        if is_early:
            sys.stdout.write(text)
            sys.stdout.flush()
            sys.stdin.read()
        key = f"{run}/{number}".encode()
        store.commit(
            [
                author.batch(file_id(key)),
                PutRecord(RecordKind.NODE, run.encode(), text.strip().encode()),
                put_blob(key * 3000),
            ]
        )
        sys.stdout.write(text)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
