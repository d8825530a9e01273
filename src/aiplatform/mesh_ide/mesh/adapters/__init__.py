"""Adapters of ``ports.transport.Transport``: iroh for machines, memory for one process.

Owns sockets, streams, queues and tasks. Refuses to look into frames: a frame is bytes with a
bound. What adapters share lies here: outgoing queues (``channels``), the sending half of those
without sockets (``in_process``), the order of what a listener hears (``delivery``), the owner of
tasks (``tasks``) and the gate of the join protocol (``joins``).
"""
