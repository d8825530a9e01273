"""The parser of the command line: imports the module of the verb that was typed, and no other."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from aiplatform.mesh_ide.cli.output import print_problem
from aiplatform.mesh_ide.model.errors import LocalError

_VERBS: Final = {
    "init": "serving",
    "up": "serving",
    "down": "serving",
    "share": "belonging",
    "join": "serving",
    "leave": "belonging",
    "members": "belonging",
    "status": "looking",
    "peers": "looking",
    "ping": "looking",
    "why": "looking",
    "sync": "looking",
    "history": "history",
    "blame": "history",
    "cat": "history",
    "restore": "history",
    "snapshot": "snapshot",
    "conflicts": "deciding",
    "resolve": "deciding",
    "held": "deciding",
    "release": "deciding",
    "reject": "deciding",
    "skipped": "looking",
    "events": "looking",
    "service": "service",
    "doctor": "doctor",
}
"""Each verb and the module ``verbs_<name>`` that has it, in the order of the help."""

_INTERRUPTED: Final = 130
"""What newer parsers return for Ctrl-C: 128 + SIGINT, as shells count."""

_WrongUsage: Final[Any] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
"""What the parser raises. By its name: typer keeps its parser private, and older ones take
click's."""


class Verbs(TyperGroup):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - typer's own type
        """Return every verb."""
        return list(_VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - typer's own types
        """Return a verb's command, ``None`` if there is none."""
        if cmd_name not in self.commands and cmd_name in _VERBS:
            module = importlib.import_module(f"aiplatform.mesh_ide.cli.verbs_{_VERBS[cmd_name]}")
            self.commands[cmd_name] = _command(module.app, cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own types
        """Return the verb that was typed; a mistyped one fails with the nearest ones there are."""
        if args and args[0] not in _VERBS:
            for verb in _VERBS:  # the parser suggests among those that it has
                self.get_command(ctx, verb)
        return super().resolve_command(ctx, args)


def _command(app: typer.Typer, name: str) -> Any:  # noqa: ANN401 - typer's own type
    """Build one command of an app; building all of a module's costs a ms each."""
    for group in app.registered_groups:
        if group.name == name:
            return typer.main.get_group_from_info(
                group, pretty_exceptions_short=False, rich_markup_mode=None, suggest_commands=True
            )
    info = next(i for i in app.registered_commands if i.name == name)
    return typer.main.get_command_from_info(
        info, pretty_exceptions_short=False, rich_markup_mode=None
    )


app = typer.Typer(
    name="mesh",
    cls=Verbs,
    help="A folder of code that is live on all your machines at once.",
    epilog="Begin with `mesh init` in a folder, then `mesh up`, then `mesh share`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - 20 ms that others need not pay

        typer.echo(f"mesh {version('mesh-ide')}")
        raise typer.Exit


@app.callback()
def options(
    folder: Annotated[
        str, typer.Option("-C", metavar="DIR", help="As if started in DIR.", show_default=False)
    ] = "",
    *,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take what stands before the verb."""
    if folder:
        os.environ["MESH_FOLDER"] = folder


def run() -> int:
    """Parse the command line and do it; return the exit code.

    Raises:
        MeshIDEError: it failed; the message says why.
        KeyboardInterrupt: somebody pressed Ctrl-C.
    """
    command = typer.main.get_command(app)
    try:
        ended = command.main(prog_name="mesh", complete_var="_MESH_COMPLETE", standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except typer.Abort as stopped:  # older parsers' word for Ctrl-C
        raise KeyboardInterrupt from stopped
    except _WrongUsage as error:
        error.show()
        if "--json" in sys.argv[1:]:
            print_problem(LocalError(error.format_message()))
        return int(error.exit_code)
    if ended == _INTERRUPTED:
        raise KeyboardInterrupt
    return ended if isinstance(ended, int) else 0
