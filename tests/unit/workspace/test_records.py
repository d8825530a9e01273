"""What is remembered of the folder comes back from its records as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.enums import FileMode, HoldReason
from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, FileId, SessionId
from aiplatform.mesh_ide.ports.filetree import FileStat
from aiplatform.mesh_ide.ports.store import RecordKind
from aiplatform.mesh_ide.workspace.records import (
    DiskState,
    Hold,
    Standing,
    decode_disk,
    decode_hold,
    disk_record,
    hold_record,
)

NUMBER = st.integers(0, 2**53 - 1)
KEY = st.binary(min_size=32, max_size=32)
REF = st.builds(EntryRef, KEY.map(SessionId), NUMBER, KEY.map(EntryId))
MODE = st.sampled_from(FileMode)
STANDING = st.builds(
    Standing,
    file=st.binary(min_size=16, max_size=16).map(FileId),
    heads=st.lists(REF, max_size=3).map(tuple),
    blob=KEY.map(BlobHash),
    mode=MODE,
    size=NUMBER,
    lineage=KEY.map(EntryId),
)
STATE = st.builds(
    DiskState,
    now=st.none() | STANDING,
    stat=st.none() | st.builds(FileStat, NUMBER, NUMBER, NUMBER, MODE, NUMBER),
    before=st.none() | STANDING,
    written_ms=NUMBER,
    planned=st.none() | STANDING,
    is_leaving=st.booleans(),
)
PATH = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
HOLD = st.builds(
    Hold,
    id=st.integers(1, 2**40),
    reason=st.sampled_from(HoldReason),
    paths=st.lists(PATH, max_size=4).map(tuple),
    since_ms=NUMBER,
    detail=st.text(),
)


@given(PATH, STATE)
def test_a_paths_state_comes_back(path: str, state: DiskState) -> None:
    """Every field, and the path from the key."""
    record = disk_record(path, state)
    assert record.kind is RecordKind.DISK
    assert record.value is not None
    assert decode_disk(record.key, record.value) == (path, state)


@given(HOLD)
def test_a_hold_comes_back_until_it_is_over(hold: Hold) -> None:
    """Its key is its number, whatever else changes."""
    kept, ended = hold_record(hold), hold_record(hold, is_over=True)
    assert kept.value is not None
    assert decode_hold(kept.value) == hold
    assert (ended.key, ended.value) == (kept.key, None)


def test_a_path_of_which_nothing_is_believed_is_erased() -> None:
    """The record goes; its key is the path in UTF-8."""
    record = disk_record("straße", None)
    assert (record.key, record.value) == ("straße".encode(), None)
