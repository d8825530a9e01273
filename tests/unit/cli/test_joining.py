"""What `mesh join` says when it joins and cannot serve, and what it finds out before."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from aiplatform.mesh_ide.api.locations import Place
from aiplatform.mesh_ide.cli import founding, verbs_serving
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.ports.errors import AddressInUseError


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_taken_port_is_found_out_on_both_families(family: int, host: str) -> None:
    """A node is bound to both, so either one refuses it."""
    with socket.socket(family, socket.SOCK_DGRAM) as taken:
        taken.bind((host, 0))
        port = taken.getsockname()[1]
        for listen in Listen:
            with pytest.raises(AddressInUseError, match=f"port {port} is taken"):
                founding._check_port(listen, port)
    for listen in Listen:
        founding._check_port(listen, port)
        founding._check_port(listen, 0)


def test_whoever_has_joined_and_is_not_served_is_told_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The port was taken in between; the ticket is used up, and `mesh up` is the way on."""
    place = Place(tmp_path / "state", tmp_path / "rocket", "rocket", "laptop")

    def refuse(*_: object, **__: object) -> None:
        raise AddressInUseError("UDP port 7311 is taken")

    monkeypatch.setattr(founding, "read_ticket", lambda _: None)
    monkeypatch.setattr(founding, "is_place", lambda _: False)
    monkeypatch.setattr(founding, "join", lambda *_, **__: place)
    monkeypatch.setattr(verbs_serving, "serve_place", refuse)
    with pytest.raises(AddressInUseError):
        verbs_serving.join("mesh1x", str(tmp_path / "rocket"))
    said = capsys.readouterr().err
    assert f"{tmp_path / 'rocket'} has joined rocket; the ticket is used up" in said
    assert "`mesh up` there" in said
    assert "--port N" in said
