"""One node's ports in memory, and the runner that does its jobs over them."""

from __future__ import annotations

from typing import TypeVar

from blake3 import blake3

from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.documents.engine.tree import LoroTreeEngine
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.model.entries import KnownEntry
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.node.jobs import JobRunner
from aiplatform.mesh_ide.ports.engine import TextEngine
from aiplatform.mesh_ide.ports.errors import CorruptRecordError
from aiplatform.mesh_ide.ports.jobs import BlobSource, Job, Persist, TextLineage
from aiplatform.mesh_ide.ports.store import PutBlob, PutEntries
from aiplatform.mesh_ide.simulation.disk import SimulatedDisk
from aiplatform.mesh_ide.storage.contents import ContentCache, StoreContents
from aiplatform.mesh_ide.workspace.adapters.memory_tree import MemoryFileTree
from tests.unit.documents.authors import WORKSPACE, Author, blob, file

Kind = TypeVar("Kind")


class Ports:
    """A disk, a cache, engines; ``me`` writes with the runner's own key.

    ``damage`` is what was reported of stored entries that rotted.
    """

    def __init__(self, *, has_folder: bool = True, texts: TextEngine | None = None) -> None:
        """Begin with an empty disk."""
        self.me = Author("me")
        self.disk = SimulatedDisk()
        self.store = self.disk.open_store()
        self.cache = ContentCache()
        self.contents = StoreContents(self.cache, self.store, self.disk.read)
        self.tree = MemoryFileTree(self.disk.folder, self.contents)
        self.names = LoroTreeEngine()
        self.names.load(None, ())
        self.damage: list[CorruptRecordError] = []
        self.runner = JobRunner(
            WORKSPACE,
            SigningKey.from_seed(blake3(b"me").digest()),
            self.store,
            self.contents,
            self.tree if has_folder else None,
            texts or LoroTextEngine(),
            self.names,
            self.damage.append,
        )

    def run(self, job: Job, kind: type[Kind]) -> Kind:
        """Do a job that has one result."""
        (result,) = self.runner.run(job)
        assert isinstance(result, kind)
        return result

    def all(self, job: Job, kind: type[Kind]) -> list[Kind]:
        """Do a job that may have several results."""
        kinds: list[Kind] = []
        for result in self.runner.run(job):
            assert isinstance(result, kind)
            kinds.append(result)
        return kinds

    def archive(self, text: str) -> BlobHash:
        """Have a content in the archive."""
        self.store.commit((PutBlob(blob(text), text.encode()),))
        return blob(text)

    def created(self, text: str) -> TextLineage:
        """Let this session have created file 1 with this text, stored and archived."""
        (genesis,) = self.me.say(self.me.genesis(file(1), text))
        self.stored((genesis,))
        self.archive(text)
        return TextLineage(file(1), genesis.ref, BlobSource(blob(text)))

    def stored(self, known: tuple[KnownEntry, ...], author: Author | None = None) -> None:
        """Store the batch that an author said last."""
        piece = (author or self.me).said[-1]
        self.run(Persist(1, (PutEntries(piece, known),)), object)
