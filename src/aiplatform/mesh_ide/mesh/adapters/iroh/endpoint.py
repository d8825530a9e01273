"""Binding an iroh endpoint: which port, which addresses, and when a port is taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from iroh import (
    Endpoint,
    EndpointBuilder,
    IrohError,
    RelayMode,
)

from aiplatform.mesh_ide.mesh.adapters.iroh.binding import mend
from aiplatform.mesh_ide.ports.errors import AddressInUseError

LINK_ALPN: Final = b"mesh-ide/1"
JOIN_ALPN: Final = b"mesh-join/1"

ADDRESSES_TRIED_MAX: Final = 64
"""Of one peer. Addresses come from other nodes; each costs a packet."""

_IN_USE: Final = ("(os error 98)", "(os error 48)", "(os error 10048)")
"""EADDRINUSE on Linux, macOS and Windows: iroh gives no kind of its own for it."""


class Listen(Enum):
    """Who can reach the endpoint."""

    EVERYWHERE = ("0.0.0.0", "[::]")  # noqa: S104 - a node is there to be dialled
    """All interfaces."""
    LOOPBACK = ("127.0.0.1", "[::1]")
    """This machine only."""


async def bind(
    seed: bytes,
    listen: Listen,
    ports: Sequence[int],
    relay_url: str | None,
    *,
    accepts: bool = True,
) -> Endpoint:
    """Bind IPv4 and IPv6 to the first free of ``ports`` (0: any) and return the endpoint.

    ``accepts``: others may dial it; otherwise it only dials.

    Raises:
        AddressInUseError: all of them are taken.
    """
    mend()
    for port in ports:
        for hosts in (listen.value, listen.value[:1]):  # the latter where IPv6 is switched off
            try:
                sockets = [f"{host}:{port}" for host in hosts]
                return await _bind_once(seed, sockets, relay_url, accepts=accepts)
            except IrohError as error:
                if any(word in error.debug_message() for word in _IN_USE):
                    break
                if len(hosts) == 1:
                    raise
    tried = f"port {ports[0]} is" if len(ports) == 1 else f"ports {ports[0]} to {ports[-1]} are"
    raise AddressInUseError(f"UDP {tried} taken by another program: choose another or 0 for any")


async def _bind_once(
    seed: bytes, sockets: Iterable[str], relay_url: str | None, *, accepts: bool
) -> Endpoint:
    builder = EndpointBuilder()  # type: ignore[no-untyped-call] # the binding's one bare __init__
    builder.apply_minimal()
    builder.secret_key(seed)
    builder.alpns([LINK_ALPN, JOIN_ALPN] if accepts else [])
    builder.relay_mode(
        RelayMode.custom_from_urls([relay_url]) if relay_url else RelayMode.disabled()
    )
    for socket in sockets:
        builder.bind_addr(socket)
    return await builder.bind()


def dialable_addresses(endpoint: Endpoint) -> tuple[str, ...]:
    """Return under which addresses others reach us: interfaces first, loopback last.

    Never an unspecified address, nor a link-local one, which needs a scope to be of use.
    """
    found: dict[str, None] = {}
    for address in endpoint.addr().direct_addresses():
        ip, port = _parse(address)
        if not (ip.is_unspecified or ip.is_link_local or ip.is_loopback):
            found[_join(ip, port)] = None
    for address in endpoint.bound_sockets():
        ip, port = _parse(address)
        if ip.is_unspecified or ip.is_loopback:
            loopback = "127.0.0.1" if ip.version == IPv4Address(0).version else "::1"
            found[_join(ip_address(loopback), port)] = None
    return tuple(found)


def usable_addresses(addresses: Sequence[str], own: Endpoint) -> list[str]:
    """Return the addresses that can be dialled, written alike; this endpoint's own are none."""
    ours = frozenset(dialable_addresses(own))
    usable: dict[str, None] = {}
    for address in addresses:
        try:
            ip, port = _parse(address)
        except ValueError:
            continue
        if port and not ip.is_unspecified and not ip.is_multicast:
            usable[_join(ip, port)] = None
    return [address for address in usable if address not in ours][:ADDRESSES_TRIED_MAX]


def is_loopback(address: str) -> bool:
    """Return whether an address that can be dialled means the machine that dials."""
    return _parse(address)[0].is_loopback


def _parse(address: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Split ``ip:port`` or ``[ip]:port``.

    Raises:
        ValueError: it is neither.
    """
    host, _, port = address.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else -1
    if not 0 <= number < 1 << 16:
        raise ValueError(f"{address!r} has no port")
    return ip_address(host.removeprefix("[").removesuffix("]")), number


def _join(ip: IPv4Address | IPv6Address, port: int) -> str:
    return f"[{ip}]:{port}" if isinstance(ip, IPv6Address) else f"{ip}:{port}"
