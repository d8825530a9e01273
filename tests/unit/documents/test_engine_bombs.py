"""Small updates that would become large: refused by their header, before anything is unpacked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from loro import ExportMode, LoroDoc

from aiplatform.mesh_ide.documents.engine.operations import TEXT_CONTAINER
from aiplatform.mesh_ide.documents.engine.payload import ATOMS_MAX
from aiplatform.mesh_ide.documents.engine.peers import derive_peer
from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.model.entries import KnownEntry
from aiplatform.mesh_ide.model.ids import FileId, WorkspaceId
from aiplatform.mesh_ide.ports.errors import BadUpdateError
from tests.forging import Mouth, genesis, update

FILE = FileId(b"f" * 16)
CHARACTERS = 100_000_000
ALLOWED_BYTES = 16 * 1024 * 1024

_LOOK = """
import re, sys
from pathlib import Path
from loro import LoroDoc
from aiplatform.mesh_ide.documents.engine.payload import _look
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
payload = Path(sys.argv[2]).read_bytes()
before = peak()
if sys.argv[1] == "ours":
    said = _look(payload, 1)
else:
    said = str(LoroDoc.decode_import_blob_meta(payload, check_checksum=True).mode)
print(peak() - before, said)
"""


def looked_at(payload: bytes, folder: Path, how: str) -> tuple[int, str]:
    """Return how much memory it takes at its height to look at a payload, and what is found.

    In a process of its own: Loro's memory is not Python's, so no tracer sees it, and a process's
    peak never goes down.
    """
    path = folder / "payload"
    path.write_bytes(payload)
    command = [sys.executable, "-c", _LOOK, how, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
    grown, _, said = done.stdout.strip().partition(" ")
    return int(grown), said


def document(characters: int) -> tuple[Mouth, LoroDoc]:
    """Return a document in which a session wrote one character so often."""
    mouth = Mouth(SigningKey.from_seed(b"n" * 32), WorkspaceId(b"w" * 32), b"s" * 32)
    doc = LoroDoc()
    doc.peer_id = derive_peer(mouth.session, FILE, 1)
    doc.get_text(TEXT_CONTAINER).insert(0, "a" * characters)
    doc.commit()
    return mouth, doc


def entry_of(mouth: Mouth, payload: bytes) -> KnownEntry:
    """Return a rightly signed update with this payload."""
    _, (base,) = mouth.seal([genesis(FILE, b"")])
    _, (known,) = mouth.seal([update(base, payload, b"")])
    return known


MODES: dict[str, Callable[[LoroDoc], ExportMode]] = {
    "snapshot": lambda _: ExportMode.Snapshot(),
    "shallow snapshot": lambda doc: ExportMode.ShallowSnapshot(doc.state_frontiers),
    "state only": lambda doc: ExportMode.StateOnly(doc.state_frontiers),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_compressed_document_is_refused_before_it_is_unpacked(tmp_path: Path, mode: str) -> None:
    """Snapshots are what Loro compresses, a hundred million characters into under a megabyte."""
    mouth, doc = document(CHARACTERS)
    payload = bytes(doc.export(MODES[mode](doc)))
    assert len(payload) < CHARACTERS // 100
    with pytest.raises(BadUpdateError, match="is a snapshot"):
        LoroTextEngine().check_payload(entry_of(mouth, payload))
    grown, said = looked_at(payload, tmp_path, "ours")
    assert said == "is a snapshot, not a plain update"
    assert grown < ALLOWED_BYTES


def test_planted_bug_asking_loro_what_it_is_sets_the_bomb_off(tmp_path: Path) -> None:
    """To name what a snapshot holds, Loro unpacks it: the check above would see that."""
    _, doc = document(CHARACTERS)
    grown, said = looked_at(bytes(doc.export(ExportMode.Snapshot())), tmp_path, "loro")
    assert "Snapshot" in said
    assert grown > 10 * ALLOWED_BYTES


def test_a_plain_update_is_as_large_as_its_text() -> None:
    """Its characters stand in it as they are, so the bound on its bytes is one on the text too."""
    _, doc = document(ATOMS_MAX)
    payload = bytes(doc.export(ExportMode.Updates(LoroDoc().oplog_vv)))
    assert ATOMS_MAX <= len(payload) < ATOMS_MAX + 1024


def test_a_plain_update_with_more_characters_than_a_text_has_is_refused_by_its_header() -> None:
    """The number of atoms is in the header; nothing is imported to know it."""
    mouth, doc = document(ATOMS_MAX + 1)
    known = entry_of(mouth, bytes(doc.export(ExportMode.Updates(LoroDoc().oplog_vv))))
    with pytest.raises(BadUpdateError, match="over the bound"):
        LoroTextEngine().check_payload(known)
