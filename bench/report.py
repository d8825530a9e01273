"""All figures of one run, as JSON and as a table with ratios, targets and verdicts."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.measures import ORDER, OURS, TARGETS, UNITS, Unit, show

_NOTE_CHARACTERS_MAX: Final = 100


@dataclass(frozen=True)
class Result:
    """One figure in the unit of its measure, or (in ``note``) why there is none.

    ``rounds`` holds all figures that this one is the median of.
    """

    measure: str
    tree: str
    filesystem: str
    peer: str
    figure: float | None
    note: str = ""
    rounds: tuple[float, ...] = ()


@dataclass
class Report:
    """All figures of one run and what they were measured on."""

    machine: dict[str, str]
    versions: dict[str, str]
    trees: dict[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Leave everything as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        said = {**dataclasses.asdict(self), "verdicts": self.verdicts()}
        path.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")

    def rows(self) -> list[tuple[str, str, str]]:
        """Return measure, tree and file system of each row, in the table's order."""
        seen = dict.fromkeys((each.measure, each.tree, each.filesystem) for each in self.results)
        return sorted(seen, key=lambda row: ORDER.index(row[0]) if row[0] in ORDER else len(ORDER))

    def verdicts(self) -> dict[str, str]:
        """Return what each row with a target comes to."""
        return {", ".join(row): verdict for row in self.rows() if (verdict := self._judge(row)[1])}

    def table(self) -> str:
        """Return a Markdown table; in brackets: multiples of the row's first figure."""
        peers = list(dict.fromkeys(result.peer for result in self.results))
        heads = ["measure", *peers, "target", "verdict"]
        lines = [
            "| " + " | ".join(heads) + " |",
            "|---|" + "---:|" * len(peers) + "---|---|",
        ]
        for row in self.rows():
            figures = self._figures(row)
            base = next((figures[peer] for peer in peers if figures.get(peer)), None)
            unit = UNITS.get(row[0], Unit.SECONDS)
            cells = [_cell(figures.get(peer), base, unit) for peer in peers]
            lines.append("| " + " | ".join([", ".join(row), *cells, *self._judge(row)]) + " |")
        return "\n".join(lines)

    def notes(self) -> list[str]:
        """Return why figures are missing."""
        return [
            f"{each.peer}: {each.measure}, {each.tree}, {each.filesystem}: "
            + each.note[:_NOTE_CHARACTERS_MAX]
            for each in self.results
            if each.figure is None
        ]

    def _figures(self, row: tuple[str, str, str]) -> dict[str, float]:
        return {
            each.peer: each.figure
            for each in self.results
            if (each.measure, each.tree, each.filesystem) == row and each.figure is not None
        }

    def _judge(self, row: tuple[str, str, str]) -> tuple[str, str]:
        """Return a row's target and verdict, empty where there is no target."""
        target = TARGETS.get(row[0])
        if target is None or not any(each.peer == OURS for each in self.results):
            return "", ""
        if not target.is_for(row[1], row[2]):
            return "none here", ""
        return target.text(UNITS.get(row[0], Unit.SECONDS)), target.verdict(self._figures(row))


def _cell(figure: float | None, base: float | None, unit: Unit) -> str:
    if figure is None:
        return "—"
    ratio = f" ({figure / base:.1f} x)" if base and figure != base else ""
    return show(figure, unit) + ratio
