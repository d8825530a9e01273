"""Links between nodes: what travels on them, and who is reachable.

Owns the frame format (``framing``), the codec of messages with all their bounds (``codec``,
``bounds``), the adapters of ``ports.transport.Transport`` (``adapters``: iroh and in memory; the
simulated one is with its network in ``simulation``) and membership: ``membership`` is the core,
made of ``links``, ``records``, ``whereabouts``, ``certificates``, ``contradictions`` and
``greeting``, and ``outputs`` is what it says. Refuses to judge content: a frame that decodes is
well formed, not true; signatures, roles and chains of entries are checked above.

Data passes through in one line each way. Out: message, ``codec.encode`` (one envelope byte and
MessagePack), ``Transport.send_nowait`` on one of three channels, a u32 length on the wire. In: the
adapter cuts the stream with ``framing.FrameReader``, calls ``LinkListener.on_frame``, and the node
calls ``codec.decode``. Every frame begins with its envelope (``framing.Envelope``), so a relay
passes a sealed one on by reading 65 bytes of it. To what frames for a node are sealed, it says in
its ``Hello``, signed; who introduces it passes that on with its addresses.

Sources: QUIC (RFC 9000) through iroh (https://docs.rs/iroh); MessagePack
(https://github.com/msgpack/msgpack/blob/master/spec.md).
"""
