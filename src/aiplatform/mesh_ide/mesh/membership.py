"""Membership: who belongs, who is linked, who is greeted, who is gone.

Life of a link: up → ``Hello`` both ways → (roster records if the digests differ) → ready. The
parts: ``links`` (which stand, whom to dial), ``records`` (the roster), ``whereabouts`` (addresses,
sealing offers), ``certificates`` (sessions), ``contradictions`` (who is shut out), ``greeting``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from aiplatform.mesh_ide.identity.roster import Roster, may_author
from aiplatform.mesh_ide.mesh.certificates import CertificateBook
from aiplatform.mesh_ide.mesh.contradictions import SHUT_OUT, Contradictions
from aiplatform.mesh_ide.mesh.greeting import clock_warning, greeting_problem
from aiplatform.mesh_ide.mesh.links import Link, Links
from aiplatform.mesh_ide.mesh.outputs import (
    AllowPeers,
    Disconnect,
    KeepEquivocation,
    MembershipOutput,
    PeerReady,
    RosterChanged,
    SayTo,
    Warned,
)
from aiplatform.mesh_ide.mesh.records import RosterBook
from aiplatform.mesh_ide.mesh.whereabouts import ADDRESSES_MAX, AddressBook
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.enums import Channel, Role
from aiplatform.mesh_ide.model.ids import NodeId, SessionId, WorkspaceId, short
from aiplatform.mesh_ide.model.messages import (
    Acquaintances,
    AnyMessage,
    Certificates,
    EquivocationProof,
    Equivocations,
    Goodbye,
    Hello,
    Ping,
    Pong,
    RosterExchange,
    SignedPlace,
)

_ACCUSED: Final = (
    "this node's key signed two different entries under one number: somebody else has its key, or "
    "its memory was copied while it ran. The other members shut it out; join again with a new "
    "ticket into a new folder, which makes a fresh key, and take over what is only here"
)


class MembershipCore:
    """Keeps the roster and the links of one node.

    Invariants:
        1. only members that are not shut out have links that are up.
        2. ``PeerReady`` and ``PeerGone`` alternate per peer.
    """

    def __init__(self, workspace: WorkspaceId, hello: Hello, sponsor: NodeId | None = None) -> None:
        self._workspace = workspace
        self._sponsor = sponsor
        self._me = hello.node
        self._hello = hello
        self._roster = RosterBook(workspace)
        self._certificates = CertificateBook(workspace, self._roster.knows, self.label)
        self._certificates.restore((hello.certificate,))
        self._contradictions = Contradictions(workspace)
        self._links = Links(hello.node)
        self._book = AddressBook(self._links, workspace)

    # --- start -------------------------------------------------------------------------------

    def load(
        self,
        records: Iterable[bytes],
        certificates: Iterable[SessionCertificate],
        addresses: dict[NodeId, tuple[str, ...]],
        now_ms: int,
        equivocations: Iterable[EquivocationProof] = (),
    ) -> list[MembershipOutput]:
        """Take what was remembered; ``equivocations`` prove who contradicted itself."""
        self._roster.restore(records)
        self._certificates.restore(certificates)
        self._book.addresses = dict(addresses)
        self._contradictions.restore(equivocations)
        return self._evaluate(now_ms)

    def set_addresses(self, addresses: tuple[str, ...]) -> None:
        """Set where this node can be dialled."""
        self._hello = replace(self._hello, addresses=addresses[:ADDRESSES_MAX])

    # --- roster ------------------------------------------------------------------------------

    def add_records(
        self, encoded: Iterable[bytes], source: NodeId | None, now_ms: int
    ) -> list[MembershipOutput]:
        """Take signed records, from a peer or (``None``) from this node's own acts."""
        fresh, out = self._roster.take(encoded)
        if not fresh:
            return out
        out.extend(self._evaluate(now_ms))
        out.append(self._roster.keep(fresh))
        for peer in self._links.ready():
            if peer != source:
                out.extend(self._roster.show(peer, fresh))
        return out

    def _evaluate(self, now_ms: int) -> list[MembershipOutput]:
        before = self.roster
        self._roster.evaluate()
        members = self.roster.members.values()
        roles = frozenset(m.node for m in members if m.role is not before.role(m.node))
        shut_out = self._contradictions.nodes
        others = frozenset(self.roster.members) - shut_out - {self._me}
        if self._sponsor is not None and self._me not in self.roster.members:
            # The roster did not fit the answer to our request to join: the sponsor, whose key
            # our ticket named, sends the rest.
            others |= {self._sponsor}
        ended = self._links.restrict(others, dict.fromkeys(shut_out, SHUT_OUT), now_ms)
        return [AllowPeers(others), RosterChanged(roles), *ended]

    def objection(self, session: SessionId, sequence: int, deliverer: NodeId) -> str | None:
        """Return why an author's entry is not taken, or ``None`` if it is."""
        certificate = self.certificates.get(session)
        if certificate is None:
            return f"entries of the unknown session {short(session)}"
        author = certificate.node
        if author in self.shut_out and not self._vouches(deliverer):
            return f"entries of {self.label(author)}, who is shut out"
        if not may_author(self.roster, author, session, sequence, deliverer):
            return f"{self.label(author)} may not edit this workspace"
        return None

    def _vouches(self, deliverer: NodeId) -> bool:
        """Return whether what this member delivers of a shut-out author is taken.

        It accepted those entries before it knew, and others built on them: refusing them would
        keep everybody from ever agreeing with it again (as after a removal, decision 10).
        """
        return deliverer not in self.shut_out and self.roster.may(deliverer, Role.EDIT)

    @property
    def may_edit(self) -> bool:
        """Return whether others take what this node writes now.

        While the roster that names it is still on its way (it has just joined), it may.
        """
        role = self.roster.role(self._me)
        return self._me not in self.roster.removed if role is None else role >= Role.EDIT

    def is_refused(self, session: SessionId, sequence: int) -> bool:
        """Return whether an entry is this node's own and nobody takes it of this node."""
        certificate = self.certificates.get(session)
        if certificate is None or certificate.node != self._me:
            return False
        return self.objection(session, sequence, self._me) is not None

    def label(self, node: NodeId) -> str:
        """Return what people call a node."""
        return self._roster.label(node)

    # --- contradictions ----------------------------------------------------------------------

    def shut_out_author(
        self, session: SessionId, places: tuple[SignedPlace, SignedPlace], now_ms: int
    ) -> list[MembershipOutput]:
        """Shut out whose session contradicted itself, as this node saw itself, and tell everybody.

        Args:
            session: who signed both.
            places: the halves of the proof, checked already.
            now_ms: now.
        """
        certificate = self.certificates.get(session)
        if certificate is None or certificate.node == self._me:
            return []
        return self._shut_out(EquivocationProof(certificate, *places), None, now_ms)

    def _shut_out(
        self, proof: EquivocationProof, source: NodeId | None, now_ms: int
    ) -> list[MembershipOutput]:
        node = proof.certificate.node
        if not self._contradictions.hold(proof):
            return []
        text = (
            f"{self.label(node)} is shut out: it signed two different entries under one number, "
            "which no honest node does; the proof is kept and passed on. Remove it with `mesh "
            "members remove NAME`; its owner can come back with a new ticket (`mesh share`) and "
            "a fresh key, which joining into a new folder makes"
        )
        out: list[MembershipOutput] = [KeepEquivocation(proof), Warned(text)]
        out.extend(self._certificates.take((proof.certificate,)))
        out.extend(self._evaluate(now_ms))
        told = (peer for peer in self._links.ready() if peer != source)
        out.extend(self._contradictions.tell(told, (proof,)))
        return out

    def _on_equivocations(
        self, peer: NodeId, proofs: Iterable[EquivocationProof], now_ms: int
    ) -> list[MembershipOutput]:
        """Believe true proofs against members, and pass them on; a false one ends the link."""
        out: list[MembershipOutput] = []
        for proof in proofs:
            node = proof.certificate.node
            if node in self.shut_out or node not in self.roster.members:
                continue
            if not self._contradictions.is_true(proof):
                problem = f"accused {self.label(node)} falsely"
                return [*out, Warned(f"{self.label(peer)} {problem}"), Disconnect(peer, problem)]
            if node == self._me:
                out.append(Warned(_ACCUSED))
            else:
                out.extend(self._shut_out(proof, peer, now_ms))
        return out

    def has_shut_out(self, session: SessionId) -> bool:
        """Return whether a session's node is shut out."""
        certificate = self.certificates.get(session)
        return certificate is not None and certificate.node in self.shut_out

    @property
    def shut_out(self) -> frozenset[NodeId]:
        """Return the members who were caught saying two different things under one number."""
        return self._contradictions.nodes

    # --- links -------------------------------------------------------------------------------

    def on_link_up(self, peer: NodeId, address: str, now_ms: int) -> list[MembershipOutput]:
        """A link stands: greet."""
        if self._links.get(peer) is None:
            return [Disconnect(peer, "not a member")]
        out = self._links.up(peer, now_ms)
        if address and address not in self.addresses.get(peer, ()):
            out.extend(self._book.learn_first(peer, (address,)))
        return [*out, SayTo(peer, Channel.CONTROL, self._greeting(now_ms))]

    def _greeting(self, now_ms: int) -> Hello:
        return replace(self._hello, roster_digest=self.roster.digest, clock_ms=now_ms)

    def on_link_down(self, peer: NodeId, detail: str, now_ms: int) -> list[MembershipOutput]:
        """A link ended or could not be made."""
        return self._links.down(peer, detail, now_ms)

    def on_message(  # noqa: PLR0911 - one line per message
        self, peer: NodeId, message: AnyMessage, now_ms: int
    ) -> list[MembershipOutput] | None:
        """Take a message; ``None``: it is not for membership."""
        link = self._links.linked(peer)
        if link is None:
            return []
        link.hear(now_ms)
        match message:
            case Hello():
                return self._on_hello(peer, link, message, now_ms)
            case Acquaintances():
                return self._on_acquaintances(message, now_ms)
            case RosterExchange():
                return self.add_records(message.records, peer, now_ms)
            case Certificates():
                return self._certificates.take(message.certificates)
            case Equivocations():
                return self._on_equivocations(peer, message.proofs, now_ms)
            case Ping():
                return [SayTo(peer, Channel.CONTROL, Pong(message.nonce, message.sent_ms))]
            case Pong():
                link.measure(message, now_ms)
                return []
            case Goodbye():
                link.detail = message.reason
                return []
            case _:
                return None if link.is_ready else []

    def _on_hello(
        self, peer: NodeId, link: Link, hello: Hello, now_ms: int
    ) -> list[MembershipOutput]:
        problem = greeting_problem(peer, hello, self._workspace)
        if problem is not None:
            return [Warned(f"{self.label(peer)} {problem}"), Disconnect(peer, problem)]
        out = self._certificates.take((hello.certificate,))
        self._book.take_offer(peer, hello.sealing)
        out.extend(self._book.learn_first(peer, hello.addresses))
        if hello.roster_digest != self.roster.digest:
            out.extend(self._roster.show(peer))
        link.hello = hello
        link.clock_ahead_ms = hello.clock_ms - now_ms
        warning = clock_warning(self.label(peer), link.clock_ahead_ms)
        out.extend([] if warning is None else [Warned(warning)])
        if not link.is_ready:
            link.is_ready = True
            link.failures = 0
            out.append(PeerReady(peer))
            # After the roster, on the same channel: proofs are taken of members only.
            out.extend(self._contradictions.tell_all(peer, self._roster.is_member))
            out.extend(self._book.introduce(peer))
        return out

    def _on_acquaintances(self, told: Acquaintances, now_ms: int) -> list[MembershipOutput]:
        def dial_now(node: NodeId) -> None:
            link = self._links.get(node)
            if link is not None:
                link.next_dial_ms = now_ms

        return self._book.on_told(told.members, dial_now)

    # --- time --------------------------------------------------------------------------------

    def tick(self, busy: frozenset[NodeId], now_ms: int) -> list[MembershipOutput]:
        """Ping, notice the dead, dial. ``busy``: peers on which something depends."""
        return self._links.tick(busy, self.addresses, now_ms)

    def dial_at(
        self, peer: NodeId, addresses: tuple[str, ...], now_ms: int
    ) -> list[MembershipOutput]:
        """Take where a member is from somebody who knows, and dial it with the next tick."""
        if self._links.get(peer) is None:
            return []
        self._links.redial(now_ms)
        return self._book.learn_first(peer, addresses)

    def redial(self, now_ms: int) -> None:
        """Forget every pause: the network may have come back."""
        self._links.redial(now_ms)

    # --- asking ------------------------------------------------------------------------------

    @property
    def roster(self) -> Roster:
        """Return who belongs, as far as is known here."""
        return self._roster.roster

    @property
    def certificates(self) -> dict[SessionId, SessionCertificate]:
        """Return the certificates of all sessions that are known."""
        return self._certificates.known

    @property
    def addresses(self) -> dict[NodeId, tuple[str, ...]]:
        """Return where members were reached."""
        return self._book.addresses

    def ready(self) -> tuple[NodeId, ...]:
        """Return the members that are linked and greeted."""
        return self._links.ready()

    def link_state(self, peer: NodeId) -> tuple[str, float | None, str]:
        """Return state, round trip in ms and the last detail of a member's link, for people."""
        if peer in self.shut_out:
            return "offline", None, SHUT_OUT
        return self._links.state_of(peer)

    def clock_ahead_ms(self, peer: NodeId) -> int | None:
        """Return how far a linked member's clock was ahead of ours when it greeted."""
        link = self._links.get(peer)
        return None if link is None else link.clock_ahead_ms

    def hello_of(self, peer: NodeId) -> Hello | None:
        """Return how a linked member greeted."""
        link = self._links.get(peer)
        return None if link is None else link.hello

    def offer_of(self, node: NodeId) -> bytes:
        """Return the sealing offer heard of a member, its signature checked; empty: none."""
        return self._book.offer_of(node)

    @property
    def my_hello(self) -> Hello:
        """Return this node's own greeting."""
        return self._hello

    def _check_invariants(self) -> None:
        """Invariant 1."""
        for peer in self._links.standing():
            is_known = peer in self.roster.members or peer == self._sponsor
            assert is_known, "a stranger is linked"
            assert peer not in self.shut_out, "a shut-out member is linked"
        self._certificates._check_invariants()  # noqa: SLF001 - one family
