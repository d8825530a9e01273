"""What the stores raise beyond ``ports.errors``."""

from __future__ import annotations

from aiplatform.mesh_ide.model.errors import LocalError, MeshIDEError, UnavailableError


class StateInUseError(LocalError):
    """Another store, here or in another process, has this state directory open."""


class ForeignStateError(LocalError):
    """The database in the state directory was written by another program."""


class BadWriteError(LocalError):
    """The writer broke a rule of ``Write``; nothing of the call was stored."""


class StoreClosedError(LocalError):
    """The store was closed (or its simulated process died)."""


class CorruptStateError(UnavailableError):
    """The database itself is damaged beyond single records."""


class SimulatedDeathError(MeshIDEError):
    """The simulated process died during a commit: nobody learns how the commit ended."""
