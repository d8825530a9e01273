"""Mesh IDE: a folder of code that is live on many machines, with no server needed.

The package is layered; nothing imports upward or sideways (contracts in ``pyproject.toml``)::

    cli > server | simulation > api > node
        > replication | guardians | execution | workspace
        > documents | mesh | storage | audit > identity > ports > model

Features keep their protocol rules in pure ``core`` modules (``handle(event, now) -> commands``);
sockets, files, clocks and randomness live in ``adapters`` and in the driver that ``node`` composes.
"""

__version__ = "0.1.0"
