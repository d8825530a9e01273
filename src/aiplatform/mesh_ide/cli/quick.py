"""What must answer at once: nothing but the client is imported."""

from __future__ import annotations

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.cli import present
from aiplatform.mesh_ide.cli.output import connect, print_json, print_text


def status(folder: str, as_json: bool) -> None:  # noqa: FBT001 - as the flag on the command line
    """Show how the node of the workspace around a folder is."""
    with connect(folder) as node:
        answer = node.call(requests.AskStatus())
    if as_json:
        print_json("status", answer)
    else:
        print_text(present.status(answer))
