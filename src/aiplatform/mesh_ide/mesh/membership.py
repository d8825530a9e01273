"""Membership: who belongs, who is linked, who is greeted, who is gone.

Life of a link: up → ``Hello`` both ways → (roster records if the digests differ) → ready. A link
on which nothing arrives for ``SILENCE_MS`` although something depends on it is ended here: QUIC
itself notices a killed peer only after 30 s (measured).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from blake3 import blake3
from msgspec import Struct
from msgspec.structs import replace

from aiplatform.mesh_ide.identity.records import BadRecordError, KnownRecord, open_record
from aiplatform.mesh_ide.identity.roster import Roster, evaluate, may_author
from aiplatform.mesh_ide.identity.sessions import is_certificate
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.enums import Channel, NodeType
from aiplatform.mesh_ide.model.ids import NodeId, SessionId, WorkspaceId, short
from aiplatform.mesh_ide.model.messages import (
    Acquaintances,
    AnyMessage,
    Certificates,
    Goodbye,
    Hello,
    Ping,
    Pong,
    RosterExchange,
    Whereabouts,
)

PING_BUSY_MS: Final = 500
PING_IDLE_MS: Final = 15_000
SILENCE_MS: Final = 1_700
"""With a tick every 100 ms a dead peer on which something depends is noticed within 2 s."""

ANSWER_MS: Final = SILENCE_MS - PING_BUSY_MS
"""... but nobody is given up before a question had this long to be answered: a link that was idle
for ten seconds when something began to depend on it would end with the next tick."""

SILENCE_IDLE_MS: Final = 45_000
BACKOFF_FIRST_MS: Final = 300
BACKOFF_MAX_MS: Final = 30_000
DIAL_LIMIT_MS: Final = 12_000
"""The transport answers a dial within 10 s; a dial that got no answer is forgotten after this."""

CLOCK_SKEW_MS: Final = 24 * 3600 * 1000
RECORDS_PER_MESSAGE_MAX: Final = 512
MEMBERS_MAX: Final = 1024
ADDRESSES_MAX: Final = 16
_SHUT_OUT: Final = "shut out: it contradicted itself"


class SayTo(Struct, frozen=True):
    """Say this to a linked node."""

    peer: NodeId
    channel: Channel
    message: AnyMessage


class Dial(Struct, frozen=True):
    """Try to make a link."""

    peer: NodeId
    addresses: tuple[str, ...]


class AllowPeers(Struct, frozen=True):
    """From now on accept links from these keys alone."""

    peers: frozenset[NodeId]


class Disconnect(Struct, frozen=True):
    """End a link."""

    peer: NodeId
    detail: str


class KeepCertificate(Struct, frozen=True):
    """Remember a session's certificate."""

    certificate: SessionCertificate


class KeepRoster(Struct, frozen=True):
    """Remember these records and forget those."""

    keep: tuple[KnownRecord, ...]
    erase: tuple[bytes, ...]


class KeepAddresses(Struct, frozen=True):
    """Remember where a member was reached."""

    peer: NodeId
    addresses: tuple[str, ...]


class PeerReady(Struct, frozen=True):
    """A member is linked and greeted."""

    peer: NodeId


class PeerGone(Struct, frozen=True):
    """A member that was ready is not linked any more."""

    peer: NodeId
    detail: str


class RosterChanged(Struct, frozen=True):
    """Members or roles are others now."""


class Warned(Struct, frozen=True):
    """Something a person should know."""

    text: str


MembershipOutput = (
    SayTo
    | Dial
    | AllowPeers
    | Disconnect
    | KeepCertificate
    | KeepRoster
    | KeepAddresses
    | PeerReady
    | PeerGone
    | RosterChanged
    | Warned
)


class _Link(Struct):
    is_up: bool = False
    is_ready: bool = False
    heard_ms: int = 0
    pinged_ms: int = 0
    asked_ms: int | None = None
    """When the first question was sent since something was heard; ``None``: none is open."""
    nonce: int = 0
    rtt_ms: float | None = None
    hello: Hello | None = None
    clock_ahead_ms: int | None = None
    dialled_ms: int = -1
    next_dial_ms: int = 0
    failures: int = 0
    detail: str = ""


class MembershipCore:
    """Keeps the roster and the links of one node.

    Invariants:
        1. only members have links in ``_links`` that are up.
        2. ``PeerReady`` and ``PeerGone`` alternate per peer.
    """

    def __init__(self, workspace: WorkspaceId, hello: Hello, sponsor: NodeId | None = None) -> None:
        self._workspace = workspace
        self._sponsor = sponsor
        self._me = hello.node
        self._hello = hello
        self._records: dict[bytes, KnownRecord] = {}
        self.roster: Roster = evaluate(workspace, ())
        self.certificates: dict[SessionId, SessionCertificate] = {
            hello.certificate.session: hello.certificate
        }
        self.addresses: dict[NodeId, tuple[str, ...]] = {}
        self.shut_out: set[NodeId] = set()
        """Members who were caught saying two different things under one number."""
        self._links: dict[NodeId, _Link] = {}

    # --- start -------------------------------------------------------------------------------

    def load(
        self,
        records: Iterable[bytes],
        certificates: Iterable[SessionCertificate],
        addresses: dict[NodeId, tuple[str, ...]],
        now_ms: int,
        equivocators: Iterable[SessionId] = (),
    ) -> list[MembershipOutput]:
        """Take what was remembered; ``equivocators`` are sessions that contradicted themselves."""
        for encoded in records:
            known = open_record(encoded, self._workspace)
            self._records[known.id] = known
        self.certificates.update({c.session: c for c in certificates})
        self.addresses = dict(addresses)
        for session in equivocators:
            author = self.certificates.get(session)
            if author is not None:
                self.shut_out.add(author.node)
        return self._evaluate(now_ms)

    def shut_out_author(self, session: SessionId, now_ms: int) -> list[MembershipOutput]:
        """End and refuse the links of whose session contradicted itself, and its entries too.

        Only this node's own decision, from a proof that it holds: the roster is for people.
        """
        certificate = self.certificates.get(session)
        if certificate is None or certificate.node in {self._me, *self.shut_out}:
            return []
        self.shut_out.add(certificate.node)
        label = self.label(certificate.node)
        text = (
            f"{label} is shut out: it signed two different entries under one number, which no "
            "honest node does; the proof is kept. Remove it with: mesh members remove NAME"
        )
        return [Warned(text), *self._evaluate(now_ms)]

    def set_addresses(self, addresses: tuple[str, ...]) -> None:
        """Set where this node can be dialled."""
        self._hello = replace(self._hello, addresses=addresses[:ADDRESSES_MAX])

    # --- roster ------------------------------------------------------------------------------

    def add_records(
        self, encoded: Iterable[bytes], source: NodeId | None, now_ms: int
    ) -> list[MembershipOutput]:
        """Take signed records, from a peer or (``None``) from this node's own acts."""
        out: list[MembershipOutput] = []
        fresh: list[KnownRecord] = []
        for record in encoded:
            try:
                known = open_record(record, self._workspace)
            except BadRecordError as error:
                out.append(Warned(f"a roster record was refused: {error}"))
                continue
            if known.id not in self._records:
                self._records[known.id] = known
                fresh.append(known)
        if not fresh:
            return out
        out.extend(self._evaluate(now_ms))
        erase = tuple(self.roster.refused)
        for refused in erase:
            self._records.pop(refused, None)
        out.append(KeepRoster(tuple(k for k in fresh if k.id in self._records), erase))
        for peer, link in self._links.items():
            if link.is_ready and peer != source:
                out.extend(self._show_roster(peer, fresh))
        return out

    def _evaluate(self, now_ms: int) -> list[MembershipOutput]:
        self.roster = evaluate(self._workspace, self._records.values())
        others = frozenset(self.roster.members) - self.shut_out - {self._me}
        if self._sponsor is not None and self._me not in self.roster.members:
            # The roster did not fit the answer to our request to join: the sponsor, whose key
            # our ticket named, sends the rest.
            others |= {self._sponsor}
        out: list[MembershipOutput] = [AllowPeers(others), RosterChanged()]
        for peer in list(self._links):
            if peer not in others:
                link = self._links.pop(peer)
                detail = _SHUT_OUT if peer in self.shut_out else "no longer a member"
                if link.is_ready:
                    out.append(PeerGone(peer, detail))
                if link.is_up:
                    out.append(Disconnect(peer, detail))
        for peer in sorted(others):
            self._links.setdefault(peer, _Link(next_dial_ms=now_ms))
        return out

    def _show_roster(self, peer: NodeId, records: Iterable[KnownRecord]) -> list[MembershipOutput]:
        encoded = [known.encoded for known in records]
        return [
            SayTo(
                peer,
                Channel.CONTROL,
                RosterExchange(tuple(encoded[i : i + RECORDS_PER_MESSAGE_MAX])),
            )
            for i in range(0, len(encoded), RECORDS_PER_MESSAGE_MAX)
        ]

    def objection(self, session: SessionId, sequence: int, deliverer: NodeId) -> str | None:
        """Return why an author's entry is not taken, or ``None`` if it is."""
        certificate = self.certificates.get(session)
        if certificate is None:
            return f"entries of the unknown session {short(session)}"
        if certificate.node in self.shut_out:
            return f"entries of {self.label(certificate.node)}, who is shut out"
        if not may_author(self.roster, certificate.node, session, sequence, deliverer):
            return f"{self.label(certificate.node)} may not edit this workspace"
        return None

    def label(self, node: NodeId) -> str:
        """Return what people call a node."""
        member = self.roster.members.get(node)
        return member.label if member is not None else short(node)

    # --- links -------------------------------------------------------------------------------

    def on_link_up(self, peer: NodeId, address: str, now_ms: int) -> list[MembershipOutput]:
        """A link stands: greet."""
        link = self._links.get(peer)
        if link is None:
            return [Disconnect(peer, "not a member")]
        out: list[MembershipOutput] = []
        if link.is_ready:
            out.append(PeerGone(peer, "linked anew"))
        # Our greeting is a question too.
        self._links[peer] = _Link(is_up=True, heard_ms=now_ms, pinged_ms=now_ms, asked_ms=now_ms)
        known = self.addresses.get(peer, ())
        if address and address not in known:
            out.extend(self._learn(peer, (address, *known)))
        return [*out, SayTo(peer, Channel.CONTROL, self._greeting(now_ms))]

    def _greeting(self, now_ms: int) -> Hello:
        return replace(self._hello, roster_digest=self.roster.digest, clock_ms=now_ms)

    def _learn(self, peer: NodeId, addresses: tuple[str, ...]) -> list[MembershipOutput]:
        kept = tuple(dict.fromkeys(addresses))[:ADDRESSES_MAX]
        if kept == self.addresses.get(peer):
            return []
        self.addresses[peer] = kept
        return [KeepAddresses(peer, kept)]

    def _introduce(self, newcomer: NodeId) -> list[MembershipOutput]:
        """Tell a peer where the others are, and the others where it is.

        Two nodes that joined through a third one know no address of each other.
        """
        known = [
            Whereabouts(node, self.addresses[node])
            for node in sorted(self._links)
            if node != newcomer and self.addresses.get(node)
        ]
        out: list[MembershipOutput] = [
            SayTo(newcomer, Channel.CONTROL, Acquaintances(tuple(known[i : i + MEMBERS_MAX])))
            for i in range(0, len(known), MEMBERS_MAX)
        ]
        if self.addresses.get(newcomer):
            told = Acquaintances((Whereabouts(newcomer, self.addresses[newcomer]),))
            out.extend(
                SayTo(peer, Channel.CONTROL, told)
                for peer, link in self._links.items()
                if link.is_ready and peer != newcomer
            )
        return out

    def _on_acquaintances(
        self, members: Iterable[Whereabouts], now_ms: int
    ) -> list[MembershipOutput]:
        """Learn where members are that are not linked; what we knew ourselves comes first."""
        out: list[MembershipOutput] = []
        for told in members:
            link = self._links.get(told.node)
            if link is None or link.is_up:
                continue
            learnt = self._learn(told.node, (*self.addresses.get(told.node, ()), *told.addresses))
            if learnt:
                link.next_dial_ms = now_ms
            out.extend(learnt)
        return out

    def on_link_down(self, peer: NodeId, detail: str, now_ms: int) -> list[MembershipOutput]:
        """A link ended or could not be made."""
        link = self._links.get(peer)
        if link is None:
            return []
        was_ready = link.is_ready
        failures = 0 if was_ready else link.failures + 1
        pause = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS << min(failures, 10))
        self._links[peer] = _Link(
            failures=failures,
            next_dial_ms=now_ms + pause + self._jitter(peer, now_ms, pause),
            detail=detail,
        )
        return [PeerGone(peer, detail)] if was_ready else []

    def _jitter(self, peer: NodeId, now_ms: int, pause: int) -> int:
        """Spread dials of many nodes; the higher id waits longer, so that dials rarely cross."""
        digest = blake3(self._me + peer + now_ms.to_bytes(8, "big", signed=True)).digest(length=2)
        jitter = int.from_bytes(digest, "big") % max(1, pause // 2)
        return jitter + (BACKOFF_FIRST_MS if self._me > peer else 0)

    def on_message(  # noqa: PLR0911 - one line per message
        self, peer: NodeId, message: AnyMessage, now_ms: int
    ) -> list[MembershipOutput] | None:
        """Take a message; ``None``: it is not for membership."""
        link = self._links.get(peer)
        if link is None or not link.is_up:
            return []
        link.heard_ms = now_ms
        link.asked_ms = None
        match message:
            case Hello():
                return self._on_hello(peer, link, message, now_ms)
            case Acquaintances():
                return self._on_acquaintances(message.members, now_ms)
            case RosterExchange():
                return self.add_records(message.records, peer, now_ms)
            case Certificates():
                return self._on_certificates(message.certificates)
            case Ping():
                return [SayTo(peer, Channel.CONTROL, Pong(message.nonce, message.sent_ms))]
            case Pong():
                if message.nonce == link.nonce:
                    link.rtt_ms = float(max(0, now_ms - message.sent_ms))
                return []
            case Goodbye():
                link.detail = message.reason
                return []
            case _:
                return None if link.is_ready else []

    def _on_hello(
        self, peer: NodeId, link: _Link, hello: Hello, now_ms: int
    ) -> list[MembershipOutput]:
        problem = None
        if hello.workspace != self._workspace:
            problem = "serves another workspace"
        elif hello.node != peer or hello.certificate.node != peer:
            problem = "greeted under another name"
        elif not is_certificate(hello.certificate, self._workspace):
            problem = "showed a session it does not own"
        if problem is not None:
            return [Warned(f"{self.label(peer)} {problem}"), Disconnect(peer, problem)]
        out = self._on_certificates((hello.certificate,))
        out.extend(self._learn(peer, (*hello.addresses, *self.addresses.get(peer, ()))))
        if hello.roster_digest != self.roster.digest:
            out.extend(self._show_roster(peer, self.roster.records))
        if abs(hello.clock_ms - now_ms) > CLOCK_SKEW_MS:
            days = (hello.clock_ms - now_ms) // CLOCK_SKEW_MS
            out.append(
                Warned(
                    f"the clock of {self.label(peer)} is {abs(days)} days "
                    f"{'ahead of' if days > 0 else 'behind'} ours; times in the history are off, "
                    "nothing else depends on them"
                )
            )
        link.hello = hello
        link.clock_ahead_ms = hello.clock_ms - now_ms
        if not link.is_ready:
            link.is_ready = True
            link.failures = 0
            out.append(PeerReady(peer))
            out.extend(self._introduce(peer))
        return out

    def _on_certificates(
        self, certificates: Iterable[SessionCertificate]
    ) -> list[MembershipOutput]:
        out: list[MembershipOutput] = []
        for certificate in certificates:
            if certificate.session in self.certificates:
                continue
            if not is_certificate(certificate, self._workspace):
                out.append(Warned(f"a forged certificate of {short(certificate.session)}"))
                continue
            self.certificates[certificate.session] = certificate
            out.append(KeepCertificate(certificate))
        return out

    # --- time --------------------------------------------------------------------------------

    def tick(self, busy: frozenset[NodeId], now_ms: int) -> list[MembershipOutput]:
        """Ping, notice the dead, dial. ``busy``: peers on which something depends."""
        out: list[MembershipOutput] = []
        for peer, link in list(self._links.items()):
            if link.is_up:
                out.extend(self._watch(peer, link, now_ms, is_busy=peer in busy))
            elif link.dialled_ms >= 0 and now_ms - link.dialled_ms < DIAL_LIMIT_MS:
                continue
            elif now_ms >= link.next_dial_ms and self.addresses.get(peer):
                link.dialled_ms = now_ms
                out.append(Dial(peer, self.addresses[peer]))
        return out

    def _watch(
        self, peer: NodeId, link: _Link, now_ms: int, *, is_busy: bool
    ) -> list[MembershipOutput]:
        is_busy = is_busy or not link.is_ready
        silence = now_ms - link.heard_ms
        has_asked = link.asked_ms is not None and now_ms - link.asked_ms >= ANSWER_MS
        if has_asked and silence > (SILENCE_MS if is_busy else SILENCE_IDLE_MS):
            detail = f"nothing heard for {silence} ms"
            return [*self.on_link_down(peer, detail, now_ms), Disconnect(peer, detail)]
        if now_ms - link.pinged_ms >= (PING_BUSY_MS if is_busy else PING_IDLE_MS):
            link.nonce += 1
            link.pinged_ms = now_ms
            if link.asked_ms is None:
                link.asked_ms = now_ms
            return [SayTo(peer, Channel.CONTROL, Ping(link.nonce, now_ms))]
        return []

    def redial(self, now_ms: int) -> None:
        """Forget every pause: the network may have come back."""
        for link in self._links.values():
            if not link.is_up:
                link.next_dial_ms = now_ms
                link.dialled_ms = -1

    def ready(self) -> tuple[NodeId, ...]:
        """Return the members that are linked and greeted."""
        return tuple(peer for peer, link in self._links.items() if link.is_ready)

    def link_state(self, peer: NodeId) -> tuple[str, float | None, str]:
        """Return state, round trip in ms and the last detail of a member's link, for people."""
        if peer in self.shut_out:
            return "offline", None, _SHUT_OUT
        link = self._links.get(peer)
        if link is None:
            return "unknown", None, ""
        word = "online" if link.is_ready else "connecting" if link.is_up else "offline"
        return word, link.rtt_ms, link.detail

    def clock_ahead_ms(self, peer: NodeId) -> int | None:
        """Return how far a linked member's clock was ahead of ours when it greeted."""
        link = self._links.get(peer)
        return None if link is None else link.clock_ahead_ms

    def hello_of(self, peer: NodeId) -> Hello | None:
        """Return how a linked member greeted."""
        link = self._links.get(peer)
        return None if link is None else link.hello

    @property
    def my_hello(self) -> Hello:
        """Return this node's own greeting."""
        return self._hello

    def my_type(self) -> NodeType:
        """Return what kind of machine this node is."""
        return self._hello.node_type

    def _check_invariants(self) -> None:
        """Invariant 1."""
        for peer, link in self._links.items():
            is_known = peer in self.roster.members or peer == self._sponsor
            assert not link.is_up or is_known, "a stranger is linked"
