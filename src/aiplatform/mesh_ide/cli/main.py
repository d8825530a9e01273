"""The ``mesh`` command.

``status`` is what prompts, editors and scripts ask again and again. Parsing it with the parser of
all other verbs costs more than everything else together (typer and what it imports: 0.15 s without
and 0.1 s with compiled modules, measured), so its plain forms are read here; whatever looks
otherwise goes the common way.
"""

from __future__ import annotations

import os
import sys

from aiplatform.mesh_ide.model.errors import MeshIDEError


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        quick = _plain_status(sys.argv[1:])
        if quick is not None:
            from aiplatform.mesh_ide.cli.quick import status  # noqa: PLC0415 - see above

            status(*quick)
            return 0
        from aiplatform.mesh_ide.cli.app import run  # noqa: PLC0415 - see above

        return run()
    except MeshIDEError as error:
        sys.stderr.write(f"mesh: {error}\n")
        return _problem(error)
    except KeyboardInterrupt:
        from aiplatform.mesh_ide.cli.output import StoppedError  # noqa: PLC0415 - see above

        return _problem(StoppedError("it was interrupted"))
    except BrokenPipeError:
        # Who read our output has gone; the interpreter must not complain while it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _problem(error: MeshIDEError) -> int:
    """Say why there is no answer, if programs are listening; return the exit code."""
    if "--json" in sys.argv[1:]:
        from aiplatform.mesh_ide.cli.output import print_problem  # noqa: PLC0415 - see above

        print_problem(error)
    return error.exit_code


def _plain_status(words: list[str]) -> tuple[str, bool] | None:
    """Return folder and form of ``mesh [-C DIR] status [--json] [-C DIR]``, or ``None``."""
    if "status" not in words[:3] or "_MESH_COMPLETE" in os.environ:
        return None
    folder, as_json, seen = os.environ.get("MESH_FOLDER", ""), False, 0
    rest = iter(words)
    for word in rest:
        if word == "status" and not seen:
            seen = 1
        elif word == "--json" and seen:
            as_json = True
        elif word == "-C" or (word == "--folder" and seen):
            folder = next(rest, "")
            if not folder or folder.startswith("-"):
                return None
        else:
            return None
    return (folder, as_json) if seen else None


if __name__ == "__main__":
    sys.exit(main())
