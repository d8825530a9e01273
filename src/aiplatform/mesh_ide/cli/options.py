"""Options that verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

FolderOption = Annotated[
    str,
    typer.Option(
        "-C",
        "--folder",
        metavar="DIR",
        envvar="MESH_FOLDER",
        help="The workspace around DIR instead of the current folder.",
        show_default=False,
        show_envvar=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="S", min=0.001, help="Give up after S seconds.")
]
