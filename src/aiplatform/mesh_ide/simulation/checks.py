"""What must hold: at every moment, and once a world has become quiet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from aiplatform.mesh_ide.documents.state import (
    FileState,
    content_of,
    fingerprint_of,
    holds,
    living,
    mode_of,
    winning,
)
from aiplatform.mesh_ide.model.enums import EntryKind, FileMode, SyncState
from aiplatform.mesh_ide.model.ids import TREE_FILE, BlobHash, FileId, short
from aiplatform.mesh_ide.ports.store import RecordKind
from aiplatform.mesh_ide.simulation.oracle import Tokens, repeated_in, tokens_of
from aiplatform.mesh_ide.workspace.adapters.memory_disk import MemoryFile

_state = msgspec.msgpack.Decoder(FileState)

if TYPE_CHECKING:
    from aiplatform.mesh_ide.simulation.node import SimulatedNode
    from aiplatform.mesh_ide.simulation.world import World


def is_quiet(world: World) -> bool:
    """Return whether nothing is under way anywhere and every node believes itself in step."""
    return next(unrest(world), None) is None


def unrest(world: World) -> Iterator[str]:
    """Yield what is still under way or open."""
    for node in world.nodes:
        if not node.is_running:
            yield f"{node.name} does not run"
        else:
            yield from _own_unrest(node)
            yield from _unrest_between(world, node)


def _own_unrest(node: SimulatedNode) -> Iterator[str]:
    core = node.core
    if not node.is_idle:
        yield f"{node.name} has jobs or answers under way"
    if core.storage_problem is not None:
        yield f"{node.name} waits for room on its disk"
    if core.workspace.outstanding or core.authoring.queued or not core.is_first_sync_done:
        yield (
            f"{node.name} has work: {core.workspace.outstanding} in its folder, "
            f"{core.authoring.queued} submissions"
        )
    if len(core.replication.fetcher):
        yield f"{node.name} wants {len(core.replication.fetcher)} contents"


def _unrest_between(world: World, node: SimulatedNode) -> Iterator[str]:
    core = node.core
    if node.id not in core.membership.roster.members:
        return
    for peer in core.membership.roster.members:
        if peer == node.id:
            continue
        name = world.node(peer).name
        if not core.replication.is_in_step(peer):
            yield f"{node.name} is not in step with {name}"
        elif pending := core.replication.holdings.pending_at(peer):
            files = [short(file) for file in pending]
            yield f"{node.name} waits for {name} to confirm {files}"


def differences(world: World) -> Iterator[str]:
    """Yield how the nodes differ from each other, and each folder from its node's heads."""
    members = members_of(world)
    first = members[0]
    for node in members:
        yield from _folder_differences(node)
        if node is not first:
            yield from _node_differences(first, node)


def members_of(world: World) -> list[SimulatedNode]:
    """Return the nodes that belong to the workspace, by the first one's roster."""
    roster = world.nodes[0].core.membership.roster
    return [node for node in world.nodes if node.id in roster.members]


def _node_differences(one: SimulatedNode, other: SimulatedNode) -> Iterator[str]:
    ours = {state.file: state for state in one.core.ledger.states()}
    theirs = {state.file: state for state in other.core.ledger.states()}
    for file in sorted(ours.keys() | theirs.keys()):
        mine, its = ours.get(file), theirs.get(file)
        if mine is None or its is None:
            yield f"file {short(file)} is not known to both {one.name} and {other.name}"
        elif fingerprint_of(mine, is_complete=True) != fingerprint_of(its, is_complete=True):
            yield f"file {short(file)} has other heads at {one.name} than at {other.name}"
        elif content_of(mine) != content_of(its) or mode_of(mine) != mode_of(its):
            yield f"file {short(file)} has other bytes at {one.name} than at {other.name}"
    if one.core.ledger.index.owned() != other.core.ledger.index.owned():
        yield f"the trees of {one.name} and {other.name} differ"


def _folder_differences(node: SimulatedNode) -> Iterator[str]:
    ledger = node.core.ledger
    expected: dict[str, tuple[BlobHash, FileMode]] = {}
    for path, file in ledger.index.owned():
        state = ledger.state(file)
        content = content_of(state) if state is not None else None
        if state is None or content is None:
            yield f"{node.name} has no content for {path}"
        elif not ledger.index.has_below(path):
            expected[path] = (content[0], mode_of(state))
    for path in sorted(expected.keys() | node.disk.folder.files().keys()):
        found = node.disk.folder.find(path)
        there = (found.blob, found.mode) if isinstance(found, MemoryFile) else None
        if there != expected.get(path):
            wanted = "nothing" if path not in expected else short(expected[path][0])
            got = "nothing" if there is None else short(there[0])
            yield f"{path} in {node.name}'s folder is {got}, should be {wanted}"


def losses(world: World) -> Iterator[str]:
    """Yield acknowledged tokens that nobody gave up and that are nowhere, and doubled ones."""
    node = members_of(world)[0]
    seen: set[bytes] = set()
    copied = _copied(world)
    for state in node.core.ledger.states():
        if state.file == TREE_FILE:
            continue
        for blob in _shown_blobs(state):
            content = _bytes_of(world, node, blob)
            if content is None:
                yield f"content {short(blob)} of file {short(state.file)} is not to be had"
                continue
            seen |= tokens_of(content)
            twice = repeated_in(content) - world.oracle.may_return - copied
            if twice:
                yield f"file {short(state.file)} holds {min(twice)!r} twice"
    for token, how in world.oracle.acknowledged.items():
        if token not in seen and token not in world.oracle.given_up:
            yield f"{token!r}, {how}, is lost"


def _copied(world: World) -> set[bytes]:
    """Return tokens that were in several files, and can come into a text from outside it.

    That is so where a file was renamed over another, or written anew after it was deleted.
    """
    node = members_of(world)[0]
    home: dict[bytes, FileId] = {}
    copied: set[bytes] = set()
    for file in sorted(node.core.ledger.files()):
        for known in node.store.entries_of(file):
            result = known.entry.result
            for token in tokens_of(world.oracle.contents.get(result)) if result else ():
                if home.setdefault(token, file) != file:
                    copied.add(token)
    return copied


def _shown_blobs(state: FileState) -> set[BlobHash]:
    """Return the contents that people can still see: the visible one, and a conflict's others."""
    content = content_of(state)
    shown = {content[0]} if content is not None else set()
    winners = winning(state)
    for head in living(state):
        if head not in winners and head.blob is not None:
            shown.add(head.blob)
    return shown


def _bytes_of(world: World, node: SimulatedNode, blob: BlobHash) -> bytes | None:
    content = node.contents.read(blob, node.core.workspace.folder.source(blob).path)
    return content if content is not None else world.oracle.contents.get(blob)


def repetitions(world: World) -> Iterator[str]:
    """Yield tokens that two entries of one text brought in: an edit was applied twice."""
    node = members_of(world)[0]
    blobs = world.oracle.contents
    copied = _copied(world)
    for file in sorted(node.core.ledger.files()):
        content: dict[bytes, Tokens] = {}
        brought: dict[tuple[bytes, bytes], int] = {}
        for known in node.store.entries_of(file):
            entry = known.entry
            result = blobs.get(entry.result) if entry.result is not None else b""
            if result is None:
                continue  # a crash came before anybody could look at it
            here = content[known.ref.id] = tokens_of(result)
            if entry.kind is EntryKind.DELETE or any(p.id not in content for p in entry.parents):
                continue
            before = frozenset().union(*(content[parent.id] for parent in entry.parents))
            is_update = entry.kind is EntryKind.UPDATE
            lineage = entry.lineage if is_update else known.ref.id
            for token in here - before if is_update else here:
                brought[lineage, token] = brought.get((lineage, token), 0) + 1
        for (_, token), times in brought.items():
            if times > 1 and token not in world.oracle.may_return and token not in copied:
                yield f"{times} entries of file {short(file)} brought in {token!r}"


def false_claims(world: World, node: SimulatedNode) -> Iterator[str]:
    """Yield files that a node calls SYNCED although a member lacks its head on its disk."""
    core = node.core
    roster = core.membership.roster
    if node.id not in roster.members:
        return
    others = [peer for peer in roster.members if peer != node.id]
    for state in core.ledger.states():
        if core.replication.holdings.sync_state(state.file, others) is not SyncState.SYNCED:
            continue
        for peer in others:
            problem = _lacks(world.node(peer), state)
            if problem is not None:
                yield (
                    f"{node.name} calls file {short(state.file)} SYNCED, but "
                    f"{world.node(peer).name} {problem}"
                )


def _lacks(peer: SimulatedNode, state: FileState) -> str | None:
    """Return what a machine's disk lacks of a file's state."""
    value = peer.disk.store.records.get(RecordKind.FILE, {}).get(state.file)
    if value is None:
        return "does not have it"
    stored = _state.decode(value)
    for head in state.heads:
        if not holds(stored.vector, head.ref.session, head.ref.sequence):
            return f"lacks entry {short(head.ref.id)}"
    return None


def shown_files(node: SimulatedNode) -> dict[str, FileId]:
    """Return the files that stand in a node's tree, by path."""
    return dict(node.core.ledger.index.owned())
