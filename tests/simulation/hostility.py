"""What a hostile member does to one honest node, and nodes that lack one check each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.documents.places import TreeIndex
from aiplatform.mesh_ide.identity.batches import BadBatchError, SliceOpener, decode_entry
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.mesh.certificates import SESSIONS_OF_STRANGERS_MAX, CertificateBook
from aiplatform.mesh_ide.mesh.codec import CERTIFICATES_MAX
from aiplatform.mesh_ide.model.entries import (
    BatchHeader,
    BatchSlice,
    KnownEntry,
    SessionCertificate,
)
from aiplatform.mesh_ide.model.enums import Channel, Role
from aiplatform.mesh_ide.model.ids import EntryId, FileId, SessionId, WorkspaceId
from aiplatform.mesh_ide.model.messages import Certificates
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.events import Command, Event, GarbageReceived
from aiplatform.mesh_ide.node.jobs import JobRunner
from aiplatform.mesh_ide.node.jobs_sealing import SealingJobs
from aiplatform.mesh_ide.ports.engine import TreePlace
from aiplatform.mesh_ide.ports.jobs import SlicesVerified, VerifySlices
from aiplatform.mesh_ide.simulation.node import SimulatedNode
from aiplatform.mesh_ide.simulation.parts import Factory
from tests.forging import (
    altered,
    certificate_for,
    genesis,
    resigned,
    snapshot_operations,
    tree_update,
    update,
)
from tests.simulation.mallory import Mallory
from tests.simulation.mutant_nodes import Twisted, skip_roles

NEW: Final = FileId(b"n" * 16)
OTHER: Final = FileId(b"o" * 16)
BOMB_CHARACTERS: Final = 20_000_000

# --- nodes without a check -----------------------------------------------------------------------


class Deaf(NodeCore):
    """Does not mind what is no message."""

    def handle(self, event: Event, now_ms: int) -> tuple[Command, ...]:
        """Pass over garbage."""
        return () if isinstance(event, GarbageReceived) else super().handle(event, now_ms)


def be_deaf(core: NodeCore) -> None:
    """Make a core a deaf one."""
    core.__class__ = Deaf


class TrustsSignatures(SliceOpener):
    """Takes every signature for good."""

    def is_signed(self, header: BatchHeader, workspace: WorkspaceId) -> bool:
        """Say yes."""
        return True


class SkipsProofs(SliceOpener):
    """Never compares the root."""

    def check_root(self, batch: BatchSlice, ids: object) -> None:
        """Look away."""


class SkipsChain(SliceOpener):
    """Does not compare what entries say of each other."""

    def check_chain(self, header: BatchHeader, known: object) -> None:
        """Look away."""


class LenientJobs(SealingJobs):
    """Takes what another opener would take."""

    opener: SliceOpener

    def verify(self, job: VerifySlices) -> SlicesVerified:
        """Look at refused slices again, with the lenient opener."""
        result = super().verify(job)
        good = list(result.good)
        for fault in result.faults:
            try:
                good.append((fault.slice, self.opener.open(fault.slice, self._workspace)))
            except BadBatchError:
                continue
        return SlicesVerified(job.peer, tuple(good), ())


class Lenient(Factory):
    """Opens slices with a broken opener."""

    def __init__(self, opener: SliceOpener) -> None:
        self._opener = opener

    def runner(self, node: SimulatedNode) -> JobRunner:
        """Return a runner whose checks of slices are broken."""
        runner = super().runner(node)
        runner._sealing.__class__ = LenientJobs
        runner._sealing.opener = self._opener  # type: ignore[attr-defined]
        return runner


class TrustingEngine(LoroTextEngine):
    """Takes any payload."""

    def check_payload(self, known: KnownEntry) -> None:
        """Look away."""


class Trusting(Factory):
    """Does not look whose operations an update holds, how many, and of what kind."""

    def runner(self, node: SimulatedNode) -> JobRunner:
        """Return a runner with a trusting engine."""
        runner = super().runner(node)
        runner._sealing._texts.__class__ = TrustingEngine
        return runner


class GullibleBook(CertificateBook):
    """Believes every certificate."""

    def _objection(self, certificate: SessionCertificate) -> str | None:
        return None


def believe_certificates(core: NodeCore) -> None:
    """Make a core's book of certificates a gullible one."""
    core.membership._certificates.__class__ = GullibleBook


class AnyName(TreeIndex):
    """Takes every name for one that can stand in a path."""

    def _path_for(self, place: TreePlace) -> str | None:
        super()._path_for(place)
        self._invalid.pop(place.node, None)
        above = None if place.parent is None else self._paths.get(place.parent)
        return place.name if above is None else f"{above}/{place.name}"


def take_any_name(core: NodeCore) -> None:
    """Make a core's index of paths one that takes any name."""
    core.ledger.index.__class__ = AnyName


# --- acts ----------------------------------------------------------------------------------------


def garbage(mallory: Mallory) -> None:
    """Send what is no message."""
    mallory.send(0, b"\x00garbage", Channel.DOCUMENTS)


def wrong_signature(mallory: Mallory) -> None:
    """Sign with nothing."""
    piece, _ = mallory.mouth.seal([genesis(NEW, b"x")])
    mallory.entries(0, replace(piece, header=replace(piece.header, signature=bytes(64))))


def changed_after_signing(mallory: Mallory) -> None:
    """Say something else than what was signed."""
    piece, _ = mallory.mouth.seal([genesis(NEW, b"x")])
    mallory.entries(0, altered(piece, size=17))


def wrong_proof(mallory: Mallory) -> None:
    """Show an entry under a root that it does not lie under."""
    piece, _ = mallory.mouth.seal([genesis(OTHER, b"x"), genesis(OTHER, b"y")])
    mine, _ = mallory.mouth.seal([genesis(NEW, b"x")], advance=False)
    entry = replace(decode_entry(mine.entries[0]), sequence=1, previous=EntryId(bytes(32)))
    forged = resigned(mallory.mouth, [entry])
    mallory.entries(0, BatchSlice(piece.header, (0,), forged.entries, ((bytes(32),),)))


def broken_chain(mallory: Mallory) -> None:
    """Name another entry than the one before as the one before."""
    piece, _ = mallory.mouth.seal([genesis(NEW, b"x"), genesis(OTHER, b"y")], advance=False)
    first, second = map(decode_entry, piece.entries)
    loose = replace(second, previous=EntryId(b"?" * 32))
    mallory.entries(0, resigned(mallory.mouth, [first, loose]))


def without_the_role(mallory: Mallory) -> None:
    """Write, rightly signed."""
    piece, _ = mallory.mouth.seal([genesis(NEW, b"x")])
    mallory.entries(0, piece)


def in_anothers_name(mallory: Mallory) -> None:
    """Claim that the victim itself began the session that writes."""
    stranger = SigningKey.from_seed(b"z" * 32)
    victim = mallory.stage[0].id
    mallory.say(0, Certificates((certificate_for(SessionId(stranger.public), victim),)))
    mallory.mouth.key = stranger
    piece, _ = mallory.mouth.seal([genesis(NEW, b"x")])
    mallory.entries(0, piece)


def invented_nodes(mallory: Mallory) -> None:
    """Have sessions of more nodes kept than there is room for: keys cost nothing."""
    invented = []
    for index in range(SESSIONS_OF_STRANGERS_MAX + 20):
        key = SigningKey.from_seed(b"invented" + index.to_bytes(24, "big"))
        session = SigningKey.from_seed(b"session." + index.to_bytes(24, "big"))
        invented.append(
            certify(node=key, session=session, workspace=mallory.mouth.workspace, started_ms=0)
        )
    for first in range(0, len(invented), CERTIFICATES_MAX):
        mallory.say(0, Certificates(tuple(invented[first : first + CERTIFICATES_MAX])))


def _update(mallory: Mallory, payload: bytes, result: bytes) -> None:
    base, known = mallory.mouth.seal([genesis(NEW, mallory.offer(b"base\n"))])
    second, _ = mallory.mouth.seal([replace(update(known[0], payload, result), after=1)])
    mallory.entries(0, base, second)


def somebody_elses_operations(mallory: Mallory) -> None:
    """Put operations of another author into an update."""
    _update(mallory, mallory.mouth.text_operations(NEW, "x", peer=4711), b"xbase\n")


def too_many_characters(mallory: Mallory) -> None:
    """Send an update that would make a text larger than any may be."""
    many = "a" * 3_500_000
    _update(mallory, mallory.mouth.text_operations(NEW, many), many.encode() + b"base\n")


def decompression_bomb(mallory: Mallory) -> None:
    """Send eighty kilobytes that Loro would unpack to twenty megabytes."""
    bomb = snapshot_operations(mallory.mouth, NEW, BOMB_CHARACTERS)
    assert len(bomb) < BOMB_CHARACTERS // 100
    _update(mallory, bomb, b"a" * BOMB_CHARACTERS + b"base\n")


def named(name: str) -> Callable[[Mallory], None]:
    """Return an act that gives a file this name."""

    def act(mallory: Mallory) -> None:
        operations = mallory.mouth.tree_operations([(None, name, NEW)])
        content = mallory.offer(b"evil")
        piece, _ = mallory.mouth.seal([tree_update(operations), genesis(NEW, content)])
        mallory.entries(0, piece)

    return act


# --- harm ----------------------------------------------------------------------------------------


def is_still_linked(mallory: Mallory) -> bool:
    """Return whether the honest node goes on listening on the link that brought the garbage."""
    return not mallory.ends


def is_taken(mallory: Mallory) -> bool:
    """Return whether the honest node has the entry in its history."""
    return mallory.stage[0].core.ledger.state(NEW) is not None


def is_update_taken(mallory: Mallory) -> bool:
    """Return whether the honest node has the update in its history, not only the creation."""
    state = mallory.stage[0].core.ledger.state(NEW)
    return state is not None and state.heads[0].ref.sequence > 1


def is_filled(mallory: Mallory) -> bool:
    """Return whether the honest node keeps more sessions of strangers than it has room for."""
    membership = mallory.stage[0].core.membership
    members = membership.roster.members
    strange = [c for c in membership.certificates.values() if c.node not in members]
    return len(strange) > SESSIONS_OF_STRANGERS_MAX


def stands_somewhere(mallory: Mallory) -> bool:
    """Return whether the file has a path at the honest node."""
    return mallory.stage[0].core.ledger.index.path_of(NEW) is not None


class Attack(Struct, frozen=True):
    """What is done, what the harm would be, which check prevents it, and what people read.

    Attributes:
        act: what the hostile member does.
        is_harmed: whether it got what it wanted.
        broken: makes nodes that lack the check.
        words: what the warning says.
        role: the hostile member's.
    """

    act: Callable[[Mallory], None]
    is_harmed: Callable[[Mallory], bool]
    broken: Factory
    words: str
    role: Role = Role.EDIT


ATTACKS: Final[dict[str, Attack]] = {
    "a garbage frame": Attack(garbage, is_still_linked, Twisted(be_deaf), "what is no message"),
    "a wrong signature": Attack(
        wrong_signature, is_taken, Lenient(TrustsSignatures()), "did not sign this"
    ),
    "an entry changed after it was signed": Attack(
        changed_after_signing, is_taken, Lenient(SkipsProofs()), "not part of the signed batch"
    ),
    "a wrong proof": Attack(
        wrong_proof, is_taken, Lenient(SkipsProofs()), "not part of the signed batch"
    ),
    "a broken chain": Attack(broken_chain, is_taken, Lenient(SkipsChain()), "was refused"),
    "a role that may not write": Attack(
        without_the_role, is_taken, Twisted(skip_roles), "may not edit", Role.READ
    ),
    "a session of another node": Attack(
        in_anothers_name, is_taken, Twisted(believe_certificates), "a forged certificate"
    ),
    "sessions of invented nodes": Attack(
        invented_nodes, is_filled, Twisted(believe_certificates), "that are no members"
    ),
    "somebody else's operations": Attack(
        somebody_elses_operations, is_update_taken, Trusting(), "not its author's"
    ),
    "an update over all bounds": Attack(
        too_many_characters, is_update_taken, Trusting(), "over the bound"
    ),
    "a decompression bomb": Attack(
        decompression_bomb, is_update_taken, Trusting(), "is a snapshot"
    ),
} | {
    f"the name {name!r}": Attack(
        named(name), stands_somewhere, Twisted(take_any_name), "stands nowhere here"
    )
    for name in ("..", ".", "../../escape", "/etc/passwd", "a/b", "nul\0byte")
}
