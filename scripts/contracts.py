"""An import contract for modules named by pattern.

import-linter's own ``forbidden`` contract wants every source module to exist, knows wildcards for
whole names only (``*.core``, never ``core*``) and cannot say "all but the adapters". This one
finds its sources by shell pattern among the modules there are, and then is the same contract.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.domain import fields
from importlinter.domain.imports import ModuleExpression

if TYPE_CHECKING:
    from grimp import ImportGraph
    from importlinter.domain.contract import ContractCheck


class PatternForbiddenContract(ForbiddenContract):
    """A ``forbidden`` contract whose sources are shell patterns; ``*`` crosses dots.

    Configuration options beyond those of ``forbidden``:
        - sources: patterns of the modules that must not import the forbidden ones.
        - excluding: patterns of modules to leave out again (optional).

    A pattern that matches nothing is reported as a warning: the package it waits for is not
    written yet, or was renamed and is unguarded now.
    """

    sources = fields.SetField(subfield=fields.StringField())
    excluding = fields.SetField(subfield=fields.StringField(), required=False)
    source_modules = fields.SetField(subfield=fields.ModuleExpressionField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: FBT001 - as above it
        """Find the sources, then check as the parent does, module by module."""
        patterns = _strings(self.sources)
        excluding = _strings(self.excluding)
        matched = {
            module
            for module in graph.modules
            if any(fnmatchcase(module, pattern) for pattern in patterns)
            and not any(fnmatchcase(module, pattern) for pattern in excluding)
        }
        self.source_modules = {ModuleExpression(module) for module in matched}  # type: ignore[assignment]
        self.as_packages = False  # type: ignore[assignment] # patterns name each module already
        found = super().check(graph, verbose)
        found.warnings.extend(
            f"'{self.name}': no module matches {pattern} yet."
            for pattern in patterns
            if not any(fnmatchcase(module, pattern) for module in matched)
        )
        return found


def _strings(field_value: object) -> list[str]:
    """Return a set field's parsed value (import-linter leaves its type open), sorted."""
    return sorted(str(item) for item in field_value) if isinstance(field_value, set) else []
