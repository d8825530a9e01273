"""Syncthing, two instances over loopback, told by their configuration to stay there.

Discovery, relays, NAT traversal, upgrades and reports are switched off in the configuration file
before either instance starts for the first time: a REST call would come too late for that. Folders
are then added over REST, as the web page does it.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from bench.peer import FIRST_SYNC_TIMEOUT_S, NotMeasuredError, Peer
from bench.processes import first_line, free_ports, running
from bench.watch import wait_seen

_START_TIMEOUT_S: Final = 60.0
_FOLDER: Final = "bench"

_FILE_WATCHER_DELAY_S: Final = 1
"""The lowest it takes (10 is its default): its best case for a single save."""

_OPTIONS: Final = {
    "globalAnnounceEnabled": "false",
    "localAnnounceEnabled": "false",
    "relaysEnabled": "false",
    "natEnabled": "false",
    "stunKeepaliveStartS": "0",
    "urAccepted": "-1",
    "autoUpgradeIntervalH": "0",
    "crashReportingEnabled": "false",
    "startBrowser": "false",
    "announceLANAddresses": "false",
    "reconnectionIntervalS": "1",
    "setLowPriority": "false",
}


class _Instance:
    """One side: its configuration folder, its ports, its REST interface."""

    def __init__(self, home: Path, gui_port: int, sync_port: int) -> None:
        self.home = home
        self.gui_port = gui_port
        self.sync_port = sync_port
        command = ["syncthing", "generate", "--home", str(home), "--no-default-folder"]
        subprocess.run(
            [*command, "--skip-port-probing"], check=True, capture_output=True, timeout=60
        )
        self.config = ET.parse(home / "config.xml")  # noqa: S314 - its own program wrote it
        self.key = self.config.findtext("gui/apikey") or ""
        device = self.config.find("device")
        self.device_id = "" if device is None else device.get("id", "")

    def configure(self, other: _Instance) -> None:
        """Keep to loopback, and know the other side; done before the first start."""
        root = self.config.getroot()
        self._element(root, "gui/address").text = f"127.0.0.1:{self.gui_port}"
        options = self._element(root, "options")
        for name, value in _OPTIONS.items():
            self._element(options, name).text = value
        self._element(options, "listenAddress").text = f"tcp://127.0.0.1:{self.sync_port}"
        device = ET.SubElement(root, "device", id=other.device_id, name="other")
        ET.SubElement(device, "address").text = f"tcp://127.0.0.1:{other.sync_port}"
        self.config.write(self.home / "config.xml")

    def add_folder(self, folder: Path, other: _Instance) -> None:
        """Share a folder with the other side, both ways."""
        self.call(
            "POST",
            "/rest/config/folders",
            {
                "id": _FOLDER,
                "path": str(folder),
                "type": "sendreceive",
                "fsWatcherEnabled": True,
                "fsWatcherDelayS": _FILE_WATCHER_DELAY_S,
                "devices": [{"deviceID": self.device_id}, {"deviceID": other.device_id}],
            },
        )

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Make one REST call; return the decoded answer.

        Raises:
            NotMeasuredError: it was refused.
            OSError: nobody listens (yet).
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.gui_port, timeout=30)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"X-API-Key": self.key})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != http.client.OK:
                raise NotMeasuredError(f"syncthing refused {path}: {content!r}")
            return json.loads(content) if content else None
        finally:
            connection.close()

    def is_connected_to(self, other: _Instance) -> bool:
        """Return whether a link to the other side stands."""
        try:
            connections = self.call("GET", "/rest/system/connections")["connections"]
        except OSError:
            return False
        return bool(connections.get(other.device_id, {}).get("connected"))

    def is_idle(self) -> bool:
        """Return whether it has scanned the folder and lacks nothing."""
        status = self.call("GET", f"/rest/db/status?folder={_FOLDER}")
        return bool(status["state"] == "idle" and status["needTotalItems"] == 0)

    @staticmethod
    def _element(root: ET.Element, path: str) -> ET.Element:
        found = root.find(path)
        if found is None:
            raise NotMeasuredError(f"this syncthing's configuration has no {path}")
        return found


class Syncthing(Peer):
    """Continuous, many-way, by block lists over TLS."""

    name = "syncthing"

    @classmethod
    def version(cls) -> str | None:
        """See ``Peer``."""
        return first_line(["syncthing", "--version"])

    def first_sync(self, paths: Sequence[Path]) -> float:
        """See ``Peer``. From sharing the folder on both sides; they are connected by then."""
        with self._both() as (left, right):
            began_at = time.perf_counter()
            self._share(left, right)
            return wait_seen(self.left, self.right, paths, FIRST_SYNC_TIMEOUT_S) - began_at

    @contextmanager
    def live(self) -> Iterator[None]:
        """See ``Peer``."""
        with self._both() as (left, right):
            self._share(left, right)
            _wait_for(lambda: left.is_idle() and right.is_idle(), "syncthing did not become idle")
            yield

    def _share(self, left: _Instance, right: _Instance) -> None:
        left.add_folder(self.left, right)
        right.add_folder(self.right, left)

    @contextmanager
    def _both(self) -> Iterator[tuple[_Instance, _Instance]]:
        homes = [self.scratch / f"syncthing-{side}-{time.monotonic_ns()}" for side in ("l", "r")]
        ports = free_ports(4)
        left = _Instance(homes[0], ports[0], ports[1])
        right = _Instance(homes[1], ports[2], ports[3])
        left.configure(right)
        right.configure(left)
        with ExitStack() as stack:
            for instance in (left, right):
                command = ["syncthing", "serve", "--home", str(instance.home), "--no-browser"]
                stack.enter_context(
                    running(
                        [*command, "--no-restart", "--no-upgrade"],
                        instance.home / "log",
                        {**os.environ, "STNOUPGRADE": "1", "STMONITORED": "1"},
                    )
                )
            _wait_for(lambda: left.is_connected_to(right), "the two syncthings did not connect")
            _wait_for(lambda: right.is_connected_to(left), "the two syncthings did not connect")
            yield left, right


def _wait_for(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.perf_counter() + _START_TIMEOUT_S
    while not condition():
        if time.perf_counter() > deadline:
            raise NotMeasuredError(complaint)
        time.sleep(0.05)
