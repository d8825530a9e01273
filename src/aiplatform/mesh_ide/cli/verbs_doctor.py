"""The verb that examines a set-up: doctor."""

from __future__ import annotations

import typer

from aiplatform.mesh_ide.api import answers, requests
from aiplatform.mesh_ide.api.client import NodeDiedError, NotServedError
from aiplatform.mesh_ide.api.locations import NoWorkspaceError
from aiplatform.mesh_ide.cli import present
from aiplatform.mesh_ide.cli.options import FolderOption, JsonOption
from aiplatform.mesh_ide.cli.output import (
    connect,
    place_of,
    print_json,
    print_text,
)
from aiplatform.mesh_ide.model.errors import MeshIDEError

app = typer.Typer()


class UnhealthyError(MeshIDEError):
    """A check found a problem."""


@app.command("doctor", epilog="Example: mesh doctor")
def doctor(*, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """Tell what is wrong with this set-up, and how to mend it."""
    from aiplatform.mesh_ide.cli import checking  # noqa: PLC0415 - imports a whole node

    found: list[answers.Check] = []
    try:
        found.extend(checking.place_checks(place_of(folder)))
        with connect(folder) as node:
            found.extend(node.call(requests.AskDoctor()).checks)
    except NoWorkspaceError as error:
        found.extend((answers.Check("workspace", "warning", str(error)), *checking.machine()))
    except NotServedError as error:
        state = "problem" if isinstance(error, NodeDiedError) else "warning"
        found.extend((answers.Check("node", state, str(error)), *checking.machine()))
    answer = answers.Checks(tuple(found))
    print_json("doctor", answer) if as_json else print_text(present.checks(answer))
    problems = [check.name for check in found if check.state == "problem"]
    if problems:
        raise UnhealthyError(f"{len(problems)} problems: {', '.join(problems)}")
