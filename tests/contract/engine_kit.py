"""What the contract tests of the engines share: entries, honest histories, Loro's own bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from loro import ExportMode, LoroDoc, VersionVector

from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.documents.engine.tree import LoroTreeEngine
from aiplatform.mesh_ide.model.entries import Entry, EntryRef, KnownEntry, Principal
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    EntryId,
    FileId,
    SessionId,
)
from aiplatform.mesh_ide.ports.engine import (
    TextEngine,
    TextRoot,
    TreeEngine,
)
from aiplatform.mesh_ide.ports.errors import BadUpdateError

FILE = FileId(b"a text file id.."[:16])
ROOT = EntryRef(SessionId(bytes(32)), 1, EntryId(sha256(b"root").digest()))
ADA, BOB, EVE = (SessionId(bytes([i]) * 32) for i in (1, 2, 3))

TEXT_ENGINES: dict[str, Callable[[], TextEngine]] = {
    "loro": LoroTextEngine,
    "loro-keeps-one": lambda: LoroTextEngine(documents_max=1, cache_bytes_max=0),
}
TREE_ENGINES: dict[str, Callable[[], TreeEngine]] = {"loro": LoroTreeEngine}


def entry(  # noqa: PLR0913 - one value per fact
    session: SessionId,
    sequence: int,
    parents: Sequence[EntryRef],
    payload: bytes,
    *,
    branch: int = 1,
    file: FileId = FILE,
    kind: EntryKind = EntryKind.UPDATE,
    lineage: EntryId = NO_ENTRY,
) -> KnownEntry:
    """Return an entry as the engine gets it; the id stands for a hash of the rest."""
    made = Entry(
        session=session,
        sequence=sequence,
        previous=NO_ENTRY,
        file=file,
        kind=kind,
        parents=tuple(parents),
        result=None,
        size=0,
        mode=FileMode.REGULAR,
        is_text=True,
        branch=branch,
        is_save=True,
        time_ms=0,
        principal=Principal(PrincipalKind.PERSON, "somebody"),
        inference=BaseInference.KNOWN,
        payload=payload,
        lineage=lineage,
    )
    name = sha256(session + sequence.to_bytes(8, "big") + payload + file).digest()
    return KnownEntry(EntryRef(session, sequence, EntryId(name)), made, b"")


class History:
    """Writes a history of one text through an engine, with honest branches."""

    def __init__(self, engine: TextEngine, text: str = "one\ntwo\nthree\n") -> None:
        self.engine = engine
        self.root = TextRoot(FILE, ROOT, text)
        self.entries: list[KnownEntry] = []
        self.texts: dict[EntryRef, str] = {ROOT: text}
        self._past: dict[EntryRef, frozenset[EntryRef]] = {ROOT: frozenset({ROOT})}
        self._tips: dict[SessionId, tuple[int, EntryRef]] = {}

    def past(self, heads: Iterable[EntryRef]) -> frozenset[EntryRef]:
        """Return everything that these entries build on, themselves included."""
        return frozenset().union(*(self._past[head] for head in heads))

    def heads(self) -> tuple[EntryRef, ...]:
        """Return the entries that nothing builds on."""
        built_on = {parent for known in self.entries for parent in known.entry.parents}
        return tuple(sorted(ref for ref in self.texts if ref not in built_on))

    def antichain(self, refs: Iterable[EntryRef]) -> tuple[EntryRef, ...]:
        """Return those of these entries that none of the others builds on."""
        chosen = set(refs)
        return tuple(
            sorted(
                ref
                for ref in chosen
                if not any(ref in self._past[other] for other in chosen - {ref})
            )
        )

    def branch(self, session: SessionId, base: Sequence[EntryRef]) -> int:
        """Return the branch that goes on at this base, or a new one."""
        branch, tip = self._tips.get(session, (0, None))
        return branch if tip in self.past(base) else len(self.entries) + 1

    def write(self, session: SessionId, text: str, base: Sequence[EntryRef] = ()) -> KnownEntry:
        """Let a session turn the text at ``base`` (all heads if empty) into ``text``."""
        base = base or self.heads()
        branch = self.branch(session, base)
        payload = self.engine.derive_update(self.root, self.entries, base, text, session, branch)
        assert payload is not None, "these texts are alike enough"
        return self.add(session, base, payload, branch, text)

    def add(
        self, session: SessionId, base: Sequence[EntryRef], payload: bytes, branch: int, text: str
    ) -> KnownEntry:
        """Append an entry to the history."""
        known = entry(session, len(self.entries) + 2, base, payload, branch=branch)
        self.entries.append(known)
        self.texts[known.ref] = text
        self._past[known.ref] = self.past(base) | {known.ref}
        self._tips[session] = (branch, known.ref)
        return known


def is_refused(call: Callable[..., object], *arguments: object) -> bool:
    """Return whether a call says that an update is bad."""
    try:
        call(*arguments)
    except BadUpdateError:
        return True
    return False


def loro_update(peer: int, text: str = "hello", mode: ExportMode | None = None) -> bytes:
    """Return an update that Loro itself made under a peer id."""
    doc = LoroDoc()
    doc.peer_id = peer
    doc.get_text("text").insert(0, text)
    doc.commit()
    return doc.export(mode or ExportMode.Updates(VersionVector()))
