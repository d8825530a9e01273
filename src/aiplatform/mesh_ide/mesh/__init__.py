"""Links between nodes: what travels on them, and who is reachable.

Owns the frame format (``framing``), the codec of messages with all their bounds (``codec``,
``bounds``), the adapters of ``ports.transport.Transport`` (``adapters``: iroh and in memory) and
the membership view. Refuses to judge content: a frame that decodes is well formed, not true;
signatures, roles and chains are checked above.

Data passes through in one line each way. Out: message, ``codec.encode`` (one envelope byte and
MessagePack), ``Transport.send_nowait`` on one of three channels, a u32 length on the wire. In: the
adapter cuts the stream with ``framing.FrameReader``, calls ``LinkListener.on_frame``, and the node
calls ``codec.decode``. Every frame begins with its envelope (``framing.Envelope``), so a relay
passes a sealed one on by reading 32 bytes of it.

Sources: QUIC (RFC 9000) through iroh (https://docs.rs/iroh); MessagePack
(https://github.com/msgpack/msgpack/blob/master/spec.md).
"""
