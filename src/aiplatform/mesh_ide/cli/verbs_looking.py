"""Verbs that look: status, peers, ping, why, sync, skipped, events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from aiplatform.mesh_ide.api import answers, requests
from aiplatform.mesh_ide.api.control import CallTimedOutError
from aiplatform.mesh_ide.cli import present, quick
from aiplatform.mesh_ide.cli.options import FolderOption, JsonOption, TimeoutOption
from aiplatform.mesh_ide.cli.output import (
    connect,
    inside,
    note,
    print_json,
    print_text,
    progress,
    progress_over,
    safe,
)
from aiplatform.mesh_ide.model.errors import TimedOutError

app = typer.Typer()


@app.command("status", epilog="Example: mesh status --json")
def status(*, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """Show the truth about this node, its links and its files."""
    quick.status(folder, as_json)


@app.command("peers", epilog="Example: mesh peers")
def peers(*, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """Show the other members and their links."""
    with connect(folder) as node:
        answer = node.call(requests.AskPeers())
    print_json("peers", answer) if as_json else print_text(present.peers(answer))


@app.command("ping", epilog="Example: mesh ping laptop --count 10")
def ping(
    name: Annotated[str, typer.Argument(metavar="NODE", help="Its label, name or id.")],
    count: Annotated[int, typer.Option("--count", "-c", min=1, max=1000)] = 4,
    timeout: TimeoutOption = 60.0,
    *,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Measure how long a message takes to a node and back."""
    result: answers.PingResult | None = None
    rounds: list[answers.PingRound] = []
    with connect(folder) as node:
        try:
            for answer in node.stream(requests.AskPing(name, count), answers.PingRound, timeout):
                if isinstance(answer, answers.PingResult):
                    result = answer
                    continue
                rounds.append(answer)
                if not as_json:
                    print_text(f"{answer.sequence}: {present.rtt(answer.rtt_ms)}")
        except CallTimedOutError as error:
            answered = len(_times(rounds))
            raise TimedOutError(_ping_late(name, timeout, answered, count)) from error
        except KeyboardInterrupt:
            if rounds and not as_json:
                print_text(_ping_summary(name, rounds))
            raise
    assert result is not None, "a stream ends with its answer"
    if as_json:
        print_json("ping", result)
        return
    print_text(_ping_summary(f"{result.label} ({result.address})", rounds))


def _times(rounds: Sequence[answers.PingRound]) -> list[float]:
    return [one.rtt_ms for one in rounds if one.rtt_ms is not None]


def _ping_summary(who: str, rounds: Sequence[answers.PingRound]) -> str:
    """Return all rounds that there were in one line."""
    times = _times(rounds)
    line = f"{safe(who)}: {len(times)} of {len(rounds)} answered"
    if not times:
        return line
    return (
        f"{line}; min {present.rtt(min(times))}, avg {present.rtt(sum(times) / len(times))}, "
        f"max {present.rtt(max(times))}"
    )


def _ping_late(name: str, timeout_s: float, answered: int, count: int) -> str:
    if answered:
        return f"{answered} of {count} answered within {timeout_s:g} s: allow more (--timeout)"
    return f"no answer from {name} within {timeout_s:g} s: is it up (`mesh up` there)?"


@app.command("why", epilog="Example: mesh why src/rocket/engine.py")
def why(
    path: Annotated[str, typer.Argument(metavar="FILE")],
    *,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell who has a file, and if nobody: why it does not replicate."""
    with connect(folder) as node:
        answer = node.call(requests.AskWhy(inside(folder, path)))
    print_json("why", answer) if as_json else print_text(present.why(answer))


@app.command("sync", epilog="Example: mesh sync --wait --timeout 30")
def sync(
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when every member has everything.")
    ] = False,
    only_online: Annotated[
        bool, typer.Option("--online", help="Do not wait for members that are offline.")
    ] = False,
    timeout: TimeoutOption = 600.0,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Look at the folder now, and dial everybody.

    With --wait it returns when all have everything.
    """
    last: answers.SyncProgress | None = None
    request = requests.AskSync(wait=wait, only_online=only_online)
    with connect(folder) as node:
        try:
            for last in node.stream(request, answers.SyncProgress, timeout):
                progress(last.message)
        except TimedOutError as error:
            progress_over()
            lacking = f": {last.message}" if last is not None else ""
            raise TimedOutError(
                f"not everything is everywhere after {timeout:g} s{lacking}. Nothing was undone; "
                "it goes on by itself. See `mesh peers`, or leave offline members out (--online)"
            ) from error
        except KeyboardInterrupt:
            progress_over()
            note("no longer waiting; the node goes on by itself")
            raise
        progress_over()
    assert last is not None, "a stream ends with its answer"
    print_json("sync", last) if as_json else print_text(last.message)


@app.command("skipped", epilog="Example: mesh skipped")
def skipped(*, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """List what in the folder does not replicate, and why."""
    with connect(folder) as node:
        answer = node.call(requests.AskSkipped())
    print_json("skipped", answer) if as_json else print_text(present.skipped(answer))


@app.command("events", epilog="Example: mesh events -f --json")
def events(
    *,
    follow: Annotated[  # noqa: ARG001 - there is only this way; the flag is what people type
        bool, typer.Option("-f", "--follow", help="Go on until interrupted (always so).")
    ] = True,
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many.")] = 0,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what happens from now on."""
    with connect(folder) as node:
        stream = node.stream(requests.AskEvents(), answers.Happening)
        for number, answer in enumerate(stream, 1):
            if isinstance(answer, answers.Done):
                return
            if as_json:
                print_json("events", answer)
            else:
                print_text(present.happening(answer))
            if count and number >= count:
                return
