"""How scenarios begin."""

from __future__ import annotations

from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.simulation.stage import Stage


def two_in_step(factory: Factory | None = None, **files: str) -> Stage:
    """Return two machines that agree on these files."""
    stage = Stage(2, factory=factory)
    for name, content in files.items():
        stage.save(0, f"{name}.txt", content)
    stage.start()
    stage.settle()
    return stage
