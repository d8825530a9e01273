"""Operations: everything that can be asked of a serving node, in one place.

``perform`` takes a request record and returns its answer record; what streams goes through
``emit``. Each subject has a module of its own; this one only knows who answers what.
"""

from __future__ import annotations

from msgspec import Struct

from aiplatform.mesh_ide.api import answers, requests
from aiplatform.mesh_ide.api.belonging import Belonging
from aiplatform.mesh_ide.api.deciding import Deciding
from aiplatform.mesh_ide.api.editing import Editing
from aiplatform.mesh_ide.api.explaining import Explaining
from aiplatform.mesh_ide.api.happenings import Happenings
from aiplatform.mesh_ide.api.health import node_checks
from aiplatform.mesh_ide.api.history import LookingBack
from aiplatform.mesh_ide.api.overview import Emit, Overview
from aiplatform.mesh_ide.api.snapshots import Snapshots
from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.api.synchronising import Synchronising


class Operations:
    """Answers every request of ``requests``; on the node's event loop."""

    def __init__(self, subjects: Subjects) -> None:
        """Serve this node."""
        self._subjects = subjects
        self._overview = Overview(subjects)
        self._explaining = Explaining(subjects)
        self._synchronising = Synchronising(subjects)
        self._looking_back = LookingBack(subjects)
        self._deciding = Deciding(subjects, self._looking_back)
        self._editing = Editing(subjects, self._looking_back)
        self._belonging = Belonging(subjects)
        self._happenings = Happenings(subjects)
        self._snapshots = Snapshots(subjects, self._looking_back)

    async def perform(  # noqa: C901, PLR0911, PLR0912 - one line per request
        self, request: requests.AnyAsk, emit: Emit
    ) -> Struct:
        """Carry out a request; cancellation stops waiting, not what was begun.

        Raises:
            MeshIDEError: it could not be done; the message says why and what to do.
        """
        match request:
            case requests.AskStatus():
                return await self._overview.status()
            case requests.AskPeers():
                return self._overview.peers()
            case requests.AskDial():
                return await self._belonging.dial(request.ticket)
            case requests.AskPing():
                return await self._overview.ping(request.node, request.count, emit)
            case requests.AskWhy():
                return await self._explaining.why(request.path)
            case requests.AskSkipped():
                return self._overview.skipped()
            case requests.AskSync():
                return await self._synchronising.sync(
                    emit, wait=request.wait, only_online=request.only_online
                )
            case requests.AskHistory():
                return await self._looking_back.history(
                    request.path, request.limit, with_edits=request.with_edits
                )
            case requests.AskBlame():
                return await self._looking_back.blame(request.path)
            case requests.AskCat():
                return await self._looking_back.cat(request.path, request.version)
            case requests.AskDeleted():
                return await self._looking_back.deleted()
            case requests.AskRestore():
                return await self._editing.restore(request.path, request.version, request.to)
            case requests.AskEdit():
                return await self._editing.edit(request.path, request.splices)
            case requests.AskPut():
                return await self._editing.put(request.path, request.content)
            case requests.AskConflicts():
                return await self._deciding.conflicts()
            case requests.AskResolve():
                return await self._deciding.resolve(request.path, request.side, request.to)
            case requests.AskHeld():
                return self._deciding.held()
            case requests.AskRelease():
                return await self._deciding.release(request.hold)
            case requests.AskReject():
                return await self._deciding.reject(request.hold)
            case requests.AskShare():
                return await self._belonging.share(request.role, request.expires_s)
            case requests.AskMembers():
                return self._belonging.members()
            case requests.AskRemove():
                return await self._belonging.remove(request.node)
            case requests.AskRole():
                return await self._belonging.set_role(request.node, request.role)
            case requests.AskLeave():
                return await self._belonging.leave()
            case requests.AskDoctor():
                return await node_checks(self._subjects)
            case requests.AskEvents():
                return await self._happenings.stream(emit)
            case requests.AskDown():
                self._subjects.stop()
                return answers.Done("this node stops serving")
            case _:
                return await self._snapshots.perform(request)
