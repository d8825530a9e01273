"""The folders that the benchmarks synchronise: generated texts, and Python's own library.

Both are the same at every run: the texts come from a seed, the library from the interpreter.
"""

from __future__ import annotations

import os
import random
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

SEED: Final = 20_260

TEXT_FILES: Final = 10_000
TEXT_BYTES_MIN: Final = 1 * 1024
TEXT_BYTES_MAX: Final = 40 * 1024
"""Source files of real projects mostly lie in this range; evenly spread, 10,000 are 209 MB."""

_FILES_PER_FOLDER: Final = 100
_POOL_LINES: Final = 50_000
_LIBRARY_SKIPPED: Final = frozenset({"__pycache__", "site-packages", "dist-packages"})


def make_texts(root: Path, files: int = TEXT_FILES, seed: int = SEED) -> list[Path]:
    """Fill ``root`` with text files that look like code and differ from each other.

    Returns:
        Their paths relative to ``root``, sorted.
    """
    chance = random.Random(seed)
    pool = _line_pool(chance)
    made: list[Path] = []
    for number in range(files):
        folder = Path(f"part{number // _FILES_PER_FOLDER:03}")
        path = folder / f"module{number:05}.py"
        if number % _FILES_PER_FOLDER == 0:
            (root / folder).mkdir(parents=True)
        size = chance.randint(TEXT_BYTES_MIN, TEXT_BYTES_MAX)
        (root / path).write_bytes(_text(chance, pool, number, size))
        made.append(path)
    return made


def copy_library(root: Path) -> list[Path]:
    """Copy the running interpreter's standard library, tests and all, without what is cached.

    Debian's package leaves the tests out: it has about 740 files and 40 MB, where CPython built
    from its source has about 2,450 and 102 MB. The table says what was copied.

    Returns:
        The paths of the files relative to ``root``, sorted.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    shutil.copytree(
        library,
        root,
        symlinks=False,
        ignore_dangling_symlinks=True,
        ignore=lambda _folder, names: _LIBRARY_SKIPPED.intersection(names),
        dirs_exist_ok=True,
    )
    return list_files(root)


def list_files(root: Path) -> list[Path]:
    """Return the paths of all files below ``root``, relative to it, sorted."""
    return sorted(
        Path(folder, name).relative_to(root) for folder, _, names in os.walk(root) for name in names
    )


def bytes_of(root: Path, paths: Sequence[Path]) -> int:
    """Return how many bytes these files have together."""
    return sum((root / path).stat().st_size for path in paths)


def rewrite_as_checkout(root: Path, paths: Sequence[Path], mark: str) -> Iterator[Path]:
    """Rewrite files as ``git checkout`` does: unlink, create, write; every tenth line changes.

    Yields:
        Each path once its new content stands.
    """
    for path in paths:
        whole = root / path
        lines = whole.read_bytes().splitlines(keepends=True)
        for index in range(0, len(lines), 10):
            lines[index] = b"# " + mark.encode() + b" " + lines[index]
        whole.unlink()
        whole.write_bytes(b"".join(lines))
        yield path


def _line_pool(chance: random.Random) -> list[bytes]:
    words = [
        "".join(chance.choices("etaoinshrdlucmfwyp", k=chance.randint(2, 9))) for _ in range(4000)
    ]
    return [
        ("    " * chance.randint(0, 3) + " ".join(chance.choices(words, k=chance.randint(3, 9))))
        .encode()
        .ljust(8, b"#")
        + b"\n"
        for _ in range(_POOL_LINES)
    ]


def _text(chance: random.Random, pool: Sequence[bytes], number: int, size: int) -> bytes:
    pieces = [f'"""Module {number}."""\n'.encode()]
    length = len(pieces[0])
    start = chance.randrange(_POOL_LINES)
    while length < size:
        line = pool[start % _POOL_LINES]
        pieces.append(line)
        length += len(line)
        start += 1
    return b"".join(pieces)[: size - 1] + b"\n"
