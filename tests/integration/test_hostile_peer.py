"""A member of the workspace that lies, floods and forges, against one honest node."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.identity.equivocation import is_equivocation, sequence_of
from aiplatform.mesh_ide.model.entries import BatchSlice
from aiplatform.mesh_ide.model.enums import Channel, Role
from aiplatform.mesh_ide.model.ids import FileId, NodeId
from aiplatform.mesh_ide.model.messages import (
    Certificates,
    EquivocationProof,
    Ping,
    RosterExchange,
    Sent,
)
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.ports.errors import LinkFullError, NoLinkError
from tests.forging import (
    Mouth,
    altered,
    certificate_for,
    genesis,
    tree_update,
    update,
)
from tests.integration.hostile import (
    FILES,
    NEW,
    Act,
    Hostile,
    attacked,
    names_in,
)
from tests.integration.kit import Node, run, until
from tests.integration.measuring import FLOODED_MIB_MAX, memory_mib

# --- frames ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame", [b"", b"\x07what?", b"\x00garbage", b"\x00\x92\x08\xc1", b"\x01" + bytes(80)]
)
def test_a_garbage_frame_is_told_and_ends_the_link(tmp_path: Path, frame: bytes) -> None:
    """The person reads who sent what is no message; the link ends; nothing else happens."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            mallory.send(frame, Channel.DOCUMENTS)
            await alpha.hears("mallory", "sent what is no message", kind="warning")
            await mallory.is_cut()

    run(work())


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (struct.pack(">I", 0xFFFF_FFFF) + b"x", "4294967295 bytes was announced"),
        (struct.pack(">I", 9 * 1024 * 1024) + b"x", "9437184 bytes was announced"),
    ],
)
def test_an_oversize_frame_ends_the_link_before_it_is_read(
    tmp_path: Path, raw: bytes, words: str
) -> None:
    """A length over the bound is a fault of the peer, whatever follows."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            await mallory.send_raw(Channel.BULK, raw)
            await alpha.hears("mallory is gone", words, kind="peer-down")
            await mallory.is_cut()

    run(work())


def test_a_truncated_frame_is_forgotten_with_its_link(tmp_path: Path) -> None:
    """A frame that ends in the middle is never looked at; the peer is simply gone."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            await mallory.send_raw(Channel.BULK, struct.pack(">I", 1000) + b"half")
            await mallory.transport.close()
            await alpha.hears("mallory is gone", kind="peer-down")
            assert not alpha.said("no message")

    run(work())


def test_a_flood_of_small_frames_is_taken_or_cut_but_never_fatal(tmp_path: Path) -> None:
    """A hundred thousand frames: the node answers people meanwhile, in bounded memory.

    Large frames that nobody has time to check are in ``test_flood_memory``.
    """

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            frames, before, peak = 0, memory_mib(os.getpid()), 0.0
            for nonce in range(100_000):
                if not mallory.is_up:
                    break
                try:
                    mallory.say(Ping(nonce, 0) if nonce % 2 else Sent(1), Channel.DOCUMENTS)
                except (LinkFullError, NoLinkError):
                    await alpha.look()
                frames += 1
                if frames % 1000 == 0:
                    peak = max(peak, memory_mib(os.getpid()))
            await alpha.look()
            assert frames > 1000
            assert peak - before < FLOODED_MIB_MAX
            assert alpha.is_serving

    run(work())


# --- entries ---------------------------------------------------------------------------------


def _flip(content: bytes) -> bytes:
    return content[:-1] + bytes((content[-1] ^ 1,))


async def _wrong_signature(mallory: Hostile) -> None:
    piece, _ = mallory.mouth.seal([genesis(NEW, b"x")])
    forged = replace(piece.header, signature=_flip(piece.header.signature))
    mallory.entries(replace(piece, header=forged))


async def _changed_after_signing(mallory: Hostile) -> None:
    piece, _ = mallory.mouth.seal([genesis(NEW, b"x")])
    mallory.entries(altered(piece, size=17))


async def _broken_chain(mallory: Hostile) -> None:
    other = FileId(b"o" * 16)
    piece, _ = mallory.mouth.seal([genesis(NEW, b"x"), genesis(other, b"y")])
    mallory.mouth.sequence, mallory.mouth.previous = 2, piece.header.root  # type: ignore[assignment]
    second, _ = mallory.mouth.seal([genesis(other, b"y")])
    entries = (piece.entries[0], second.entries[0])
    mallory.entries(replace(piece, entries=entries))


async def _wrong_proof(mallory: Hostile) -> None:
    piece, _ = mallory.mouth.seal([genesis(NEW, b"x"), genesis(FileId(b"o" * 16), b"y")])
    part = BatchSlice(piece.header, (0,), piece.entries[:1], ((bytes(32),),))
    mallory.entries(part)


async def _other_workspace(mallory: Hostile) -> None:
    foreign = Mouth(mallory.key, type(mallory.workspace)(b"w" * 32))
    mallory.say(Certificates((mallory.mouth.certificate,)))
    piece, _ = foreign.seal([genesis(NEW, b"x")])
    mallory.entries(piece)


async def _unknown_session(mallory: Hostile) -> None:
    stranger = Mouth(mallory.key, mallory.workspace)
    piece, _ = stranger.seal([genesis(NEW, b"x")])
    mallory.entries(piece)


async def _forged_certificate(mallory: Hostile) -> None:
    stranger = Mouth(mallory.key, mallory.workspace)
    mallory.say(Certificates((certificate_for(stranger.session, mallory.victim.id),)))
    piece, _ = stranger.seal([genesis(NEW, b"x")])
    mallory.entries(piece)


async def _certificate_of_another_node(mallory: Hostile) -> None:
    """Its own session, said to be the victim's: the victim's signature is missing."""
    mouth = Mouth(mallory.key, mallory.workspace)
    claimed = replace(mouth.certificate, node=mallory.victim.id)
    mallory.say(Certificates((claimed,)))
    piece, _ = mouth.seal([genesis(NEW, b"x")])
    mallory.entries(piece)


async def _somebody_elses_operations(mallory: Hostile) -> None:
    base, known = mallory.mouth.seal([genesis(NEW, b"base\n")])
    stolen = mallory.mouth.text_operations(NEW, "x", peer=4711)
    second, _ = mallory.mouth.seal([replace(update(known[0], stolen, b"xbase\n"), after=1)])
    mallory.entries(base, second)


async def _decompression_bomb(mallory: Hostile) -> None:
    base, known = mallory.mouth.seal([genesis(NEW, b"base\n")])
    bomb = mallory.mouth.text_operations(NEW, "a" * 3_500_000)
    draft = replace(update(known[0], bomb, b"a" * 3_500_000 + b"base\n"), after=1)
    second, _ = mallory.mouth.seal([draft])
    mallory.entries(base, second)


async def _nonsense_operations(mallory: Hostile) -> None:
    base, known = mallory.mouth.seal([genesis(NEW, b"base\n")])
    second, _ = mallory.mouth.seal([replace(update(known[0], b"loro!" * 20, b"x"), after=1)])
    mallory.entries(base, second)


async def _bad_roster_record(mallory: Hostile) -> None:
    mallory.say(RosterExchange((b"i am an admin now", b"\xc1")))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (_wrong_signature, "the session did not sign this"),
        (_changed_after_signing, "not part of the signed batch"),
        (_broken_chain, "was refused"),
        (_wrong_proof, "not part of the signed batch"),
        (_other_workspace, "the session did not sign this"),
        (_unknown_session, "unknown session"),
        (_forged_certificate, "a forged certificate"),
        (_certificate_of_another_node, "a forged certificate"),
        (_somebody_elses_operations, "operations that are not its author's"),
        (_decompression_bomb, "over the bound"),
        (_nonsense_operations, "cannot be decoded"),
        (_bad_roster_record, "a roster record was refused"),
    ],
)
def test_entries_that_no_honest_node_sends_are_refused_and_told(
    tmp_path: Path, act: Act, words: str
) -> None:
    """The warning says what is wrong; nothing of it becomes part of any file's history."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            before = set(alpha.core.ledger.files())
            await act(mallory)
            await alpha.hears(words, kind="warning")
            state = alpha.core.ledger.state(NEW)
            assert state is None or len(state.vector) == 1, "the update was taken"
            assert state is None or state.heads[0].kind.name == "GENESIS"
            assert set(alpha.core.ledger.files()) - before <= {NEW}
            assert len(alpha.core.membership.roster.members) == 2

    run(work())


def test_a_member_who_may_only_read_writes_nothing(tmp_path: Path) -> None:
    """Rightly signed entries of a reader are refused, and the warning says so."""

    async def work() -> None:
        async with attacked(tmp_path, Role.READ) as (alpha, mallory):
            piece, _ = mallory.mouth.seal([genesis(NEW, b"x")])
            mallory.entries(piece)
            await alpha.hears("mallory may not edit this workspace", kind="warning")
            assert alpha.core.ledger.state(NEW) is None
            assert alpha.node.driver.store.dots([(mallory.mouth.session, 1)]) == {}

    run(work())


@pytest.mark.parametrize("is_stored_first", [True, False])
def test_who_contradicts_itself_is_shut_out_with_a_proof(
    tmp_path: Path, is_stored_first: bool
) -> None:
    """Two entries under one number: both are kept as a proof, and the member's links end.

    The proof convinces anybody: both halves are signed by the session. It survives a restart, and
    so does the door that it closed.
    """

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            mouth = mallory.mouth
            mallory.offer(b"one")
            one, _ = mouth.seal([genesis(NEW, b"one")], advance=False)
            two, _ = mouth.seal([genesis(FileId(b"2" * 16), b"two")])
            mallory.entries(one)
            if is_stored_first:
                store = alpha.node.driver.store
                await until(lambda: bool(store.dots([(mouth.session, 1)])), "the first is stored")
            mallory.entries(two)
            await alpha.hears("mallory is shut out", "two different entries", kind="warning")
            await mallory.is_cut()
            await until(lambda: bool(_proofs(alpha)), "the proof is kept")
            (proof,) = _proofs(alpha)
            assert is_equivocation(proof, mallory.workspace)
            assert proof.certificate == mouth.certificate
            assert sequence_of(proof.first) == sequence_of(proof.second) == 1
            assert alpha.core.ledger.state(FileId(b"2" * 16)) is None
            ends = len(mallory.ends)
            mallory.transport.dial(alpha.id, alpha.node.driver.addresses)
            await until(lambda: len(mallory.ends) > ends, "it is refused")
            assert not mallory.is_up
        again = Node(tmp_path, "alpha")
        async with again.up():
            assert NodeId(mallory.key.public) in again.core.membership.shut_out
            assert again.core.membership.link_state(NodeId(mallory.key.public))[0] == "offline"

    run(work())


def _proofs(alpha: Node) -> tuple[EquivocationProof, ...]:
    return records.equivocations(alpha.node.driver.store)


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["..", ".", "/etc/passwd", "a/b", "../../escape", "nul\0byte", "", "x" * 300]
)
def test_a_name_that_leads_outside_stands_nowhere(tmp_path: Path, name: str) -> None:
    """The file exists in the history but at no path; the warning names it; nothing is written."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            mallory.offer(b"evil")
            operations = mallory.mouth.tree_operations([(None, name, NEW)])
            piece, _ = mallory.mouth.seal([tree_update(operations), genesis(NEW, b"evil")])
            outside = names_in(tmp_path)
            mallory.entries(piece)
            await alpha.hears("stands nowhere here", kind="warning")
            await until(lambda: alpha.core.ledger.state(NEW) is not None, "its history is known")
            assert alpha.core.ledger.index.path_of(NEW) is None
            assert set(alpha.tree()) == set(FILES)
            assert names_in(tmp_path) == outside

    run(work())


def test_a_thousand_folders_inside_each_other_stand_nowhere(tmp_path: Path) -> None:
    """Depth is bounded: what is too deep has no path, and the tree goes on working."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            mallory.offer(b"deep")
            chain: list[tuple[int | None, str, FileId | None]] = [
                (None if i == 0 else i - 1, "d", None) for i in range(1000)
            ]
            operations = mallory.mouth.tree_operations([*chain, (999, "f.txt", NEW)])
            piece, _ = mallory.mouth.seal([tree_update(operations), genesis(NEW, b"deep")])
            mallory.entries(piece)
            await alpha.hears("stands deeper than", kind="warning")
            assert alpha.core.ledger.index.path_of(NEW) is None
            assert set(alpha.tree()) == set(FILES)

    run(work())


def test_an_edit_of_the_tree_that_deletes_is_left_out_and_the_rest_is_taken(tmp_path: Path) -> None:
    """Nobody deletes nodes: such an edit is refused by what it says, others beside it count."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            from loro import ExportMode, LoroDoc  # noqa: PLC0415 - for this one edit

            from aiplatform.mesh_ide.documents.engine.peers import derive_peer  # noqa: PLC0415
            from aiplatform.mesh_ide.model.ids import TREE_FILE  # noqa: PLC0415

            doc = LoroDoc()
            doc.peer_id = derive_peer(mallory.mouth.session, TREE_FILE, 1)
            tree = doc.get_tree("tree")
            tree.disable_fractional_index()
            tree.delete(tree.create(None))
            doc.commit()
            bad = bytes(doc.export(ExportMode.Updates(LoroDoc().oplog_vv)))
            honest = Mouth(mallory.key, mallory.workspace)
            mallory.say(Certificates((honest.certificate,)), Channel.DOCUMENTS)
            mallory.offer(b"fine")
            good = honest.tree_operations([(None, "good.txt", NEW)])
            one, _ = mallory.mouth.seal([tree_update(bad)])
            two, _ = honest.seal([tree_update(good), genesis(NEW, b"fine")])
            mallory.entries(one, two)
            await alpha.hears("an edit of the tree was left out", "deletes nodes", kind="warning")
            await alpha.shows("good.txt", "fine")
            (alpha.folder / "good.txt").unlink()
        again = Node(tmp_path, "alpha")
        async with again.up():
            assert None not in {again.core.ledger.index.owner(path) for path in FILES}
            assert again.core.ledger.index.path_of(NEW) == "good.txt"

    run(work())
