"""Links over iroh 1.2: QUIC, dialled by public key.

Owns the endpoint (``endpoint``), the mended binding (``binding``), one connection per link with
one stream per channel and direction (``link``), who may stay when two connections meet
(``greeting``, ``dial``), why connections end (``closing``), the join protocol (``joining``) and the
transport that holds them together (``transport``). Refuses strangers on the link protocol before
a byte of theirs is read.

A link begins so: the dialler connects with ALPN ``mesh-ide/1``, opens its control stream and sends
its greeting; the acceptor checks the key, reads the greeting, decides, and answers with its own.
The dialler's link stands when it has read that. Frames then go over unidirectional streams, each
begun with its channel's number, opened when first needed. QUIC itself keeps bulk from delaying
the rest: streams have their own flow control (RFC 9000, section 4) and priorities (quinn).
"""
