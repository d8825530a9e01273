"""The composition root: the only place that knows all the parts.

``core`` joins the pure parts into one state machine, ``handle(event, now) -> commands``, and
translates what one part tells into what another needs. ``jobs`` and ``outgoing`` do what a core
asked for, over ports. ``driver`` runs a core on asyncio with the real adapters; the simulator
(``simulation``) runs the same core, jobs and outgoing under a virtual clock, network and disk.
"""
