"""What the parts of a core say within one turn: words for one another, and commands."""

from __future__ import annotations

from aiplatform.mesh_ide.documents.notices import Notice
from aiplatform.mesh_ide.mesh.outputs import MembershipOutput
from aiplatform.mesh_ide.node.events import Replied, Told
from aiplatform.mesh_ide.ports.jobs import Job
from aiplatform.mesh_ide.replication.commands import ReplicationCommand
from aiplatform.mesh_ide.workspace.notices import WorkspaceNotice

Internal = Job | Notice | WorkspaceNotice | ReplicationCommand | MembershipOutput | Replied | Told
