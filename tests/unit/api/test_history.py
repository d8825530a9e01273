"""Version numbers and lines, from entries and spans alone."""

from __future__ import annotations

from aiplatform.mesh_ide.api.history import _lines, versions_of
from aiplatform.mesh_ide.model.entries import Entry, EntryRef, KnownEntry, Principal
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    BlobHash,
    EntryId,
    FileId,
    SessionId,
)
from aiplatform.mesh_ide.ports.engine import BlameSpan


def entry(session: str, sequence: int, *parents: KnownEntry, is_save: bool = True) -> KnownEntry:
    """Return an entry as far as numbering looks at it."""
    who = SessionId(session.encode() * 32)
    ref = EntryRef(who, sequence, EntryId(f"{session}{sequence}".encode().ljust(32)))
    said = Entry(
        session=who,
        sequence=sequence,
        previous=NO_ENTRY,
        file=FileId(bytes(16)),
        kind=EntryKind.UPDATE,
        parents=tuple(parent.ref for parent in parents),
        result=BlobHash(bytes(32)),
        size=0,
        mode=FileMode.REGULAR,
        is_text=True,
        branch=1,
        is_save=is_save,
        time_ms=0,
        principal=Principal(PrincipalKind.PERSON, "ada"),
        inference=BaseInference.KNOWN,
        payload=b"",
    )
    return KnownEntry(ref, said, b"")


def test_a_version_counts_the_saves_in_an_entrys_past() -> None:
    """A row of saves, with live edits between them."""
    first = entry("a", 1)
    typed = entry("a", 2, first, is_save=False)
    saved = entry("a", 3, typed)
    assert {first.ref.id: 1, typed.ref.id: 1, saved.ref.id: 2} == versions_of([first, typed, saved])


def test_entries_written_apart_share_a_version_and_meet_in_the_sum() -> None:
    """Two saves on one base are both the second version; what joins them is the fourth."""
    root = entry("a", 1)
    left, right = entry("a", 2, root), entry("b", 1, root)
    merge = entry("a", 3, left, right)
    assert list(versions_of([root, left, right, merge]).values()) == [1, 2, 2, 4]


def test_lines_name_every_entry_that_wrote_a_part() -> None:
    """Spans cut across lines; the last line needs no end."""
    one, two = entry("a", 1).ref, entry("b", 1).ref
    text = "ab\ncd\r\nef"
    spans = [BlameSpan(0, 4, one), BlameSpan(4, 3, two), BlameSpan(7, 2, one)]
    assert [("ab", [one]), ("cd", [one, two]), ("ef", [one])] == _lines(text, spans)
    assert _lines("", []) == []
