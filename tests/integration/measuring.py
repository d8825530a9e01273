"""What a process takes of memory, as the kernel counts it."""

from __future__ import annotations

from pathlib import Path

from aiplatform.mesh_ide.node.pressure import WAITING_BYTES_MAX

FLOODED_MIB_MAX = WAITING_BYTES_MAX // (1 << 20) + 48
"""What a flood may make a process grow by: what may wait of one peer, and what is on its way (the
links' queues on both sides, since an attacker of the tests lives in the victim's process)."""


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """Return a process's resident memory: ``VmRSS`` now, ``VmHWM`` at its peak (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no {field}")
