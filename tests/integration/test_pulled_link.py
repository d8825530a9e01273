"""Two machines with a network of their own between them: the cable is pulled, or loses packets."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.machines import Machine, Machines, founded, joined, machines

__all__ = ["machines"]  # a fixture is found by its name in the module

pytestmark = pytest.mark.timeout(120)

NOTICED_S = 2.0
"""A dead peer on which something depends is noticed within this time."""

POLLED_S = 1.0
"""What asking costs on a busy machine: each look is a process."""

BACK_S = 20.0


def ip(*words: str) -> None:
    """Set something up with iproute2."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)} (needs root): {done.stderr}"


class Cable:
    """A link between two network namespaces."""

    def __init__(self) -> None:
        self.ends = (f"mesh{os.getpid()}a", f"mesh{os.getpid()}b")
        for end in self.ends:
            ip("netns", "add", end)
            ip("-n", end, "link", "set", "lo", "up")
        one, two = self.ends
        ip("-n", one, "link", "add", "eth", "type", "veth", "peer", "name", "eth", "netns", two)
        for number, end in enumerate(self.ends, 1):
            ip("-n", end, "address", "add", f"10.77.31.{number}/24", "dev", "eth")
            ip("-n", end, "link", "set", "eth", "up")

    def pull(self) -> None:
        """No packet passes, and nobody is told."""
        self._nft("drop")

    def lose(self, percent: int) -> None:
        """Some packets are lost, in both directions."""
        self._nft(f"numgen random mod 100 < {percent} drop")

    def mend(self) -> None:
        """All packets pass again."""
        for end in self.ends:
            subprocess.run(["ip", "netns", "exec", end, "nft", "flush", "ruleset"], check=True)

    def _nft(self, verdict: str) -> None:
        lines = (
            "table inet cable {",
            "chain incoming {",
            "type filter hook input priority 0",
            f"iif eth {verdict}",
            "}",
            "}",
            "",
        )
        rules = "\n".join(lines)
        for end in self.ends:
            subprocess.run(
                ["ip", "netns", "exec", end, "nft", "-f", "-"], input=rules.encode(), check=True
            )

    def remove(self) -> None:
        """Take it away with its namespaces."""
        for end in self.ends:
            subprocess.run(["ip", "netns", "delete", end], check=False, capture_output=True)


@pytest.fixture
def cable() -> Iterator[Cable]:
    """Give a cable; its machines end before it goes (they are asked for after it)."""
    made = Cable()
    yield made
    made.remove()


def plugged(machine: Machine, cable: Cable, end: int) -> Machine:
    """Put a machine at an end of the cable."""
    machine.prefix = ("ip", "netns", "exec", cable.ends[end])
    machine.environment["MESH_LISTEN"] = "everywhere"
    return machine


def seconds_until(is_there: Callable[[], bool], limit_s: float, what: str) -> float:
    """Wait for a condition; return how long it took."""
    began = time.monotonic()
    while not is_there():
        assert time.monotonic() - began < limit_s, f"not within {limit_s:g} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def state_of(machine: Machine) -> str:
    """Return how the only other member is, seen from a machine."""
    (peer,) = machine.json("status")["peers"]
    return str(peer["state"])


def test_a_pulled_cable_is_noticed_and_what_both_did_meanwhile_is_merged(
    cable: Cable, machines: Machines
) -> None:
    """An edit waits for the peer, so its absence is noticed; every verb says who is away."""
    alpha = founded(plugged(machines("alpha"), cable, 0), a_txt="one\ntwo\nthree\n", b_txt="b\n")
    beta = joined(plugged(machines("beta"), cable, 1), alpha)
    alpha.settle()
    beta.settle()
    cable.pull()
    alpha.write("a.txt", "ONE\ntwo\nthree\n")
    noticed_s = seconds_until(
        lambda: state_of(alpha) != "online", NOTICED_S + 3 * POLLED_S, "alpha notices"
    )
    assert noticed_s < NOTICED_S + POLLED_S
    beta.write("a.txt", "one\ntwo\nTHREE\n")
    (beta.folder / "b.txt").rename(beta.folder / "c.txt")
    said = alpha.run("sync", "--wait", "--timeout", "1", code=124).stderr
    assert "beta is " in said
    assert "beta is not reachable" in alpha.run("ping", "beta", "--count", "1", code=3).stderr

    cable.mend()
    seconds_until(lambda: state_of(alpha) == "online", BACK_S, "they meet again")
    alpha.sync()
    beta.sync()
    assert alpha.files() == {"a.txt": b"ONE\ntwo\nTHREE\n", "c.txt": b"b\n"} == beta.files()


def test_a_cable_that_loses_every_tenth_packet_loses_nothing_of_ours(
    cable: Cable, machines: Machines
) -> None:
    """A join, a large file and a rename go through, only slower."""
    alpha = founded(plugged(machines("alpha"), cable, 0), a_txt="a\n")
    (alpha.folder / "large.bin").write_bytes(os.urandom(4 * 1024 * 1024))
    cable.lose(10)
    beta = joined(plugged(machines("beta"), cable, 1), alpha)
    beta.write("a.txt", "a\nfrom beta\n")
    (beta.folder / "large.bin").rename(beta.folder / "moved.bin")
    beta.sync()
    alpha.sync()
    assert alpha.files() == beta.files()
    assert set(alpha.files()) == {"a.txt", "moved.bin"}
