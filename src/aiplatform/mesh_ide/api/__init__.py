"""What programs can ask of a node: operations, the records they answer with, and a client.

Owns: where a node's files lie on this machine (``locations``), the questions and answers of the
control socket (``requests``, ``answers``, ``control``), the client that puts them (``client``),
and the operations that a serving node carries out (``operations`` and its ``operations_*``
modules). Refuses: sockets' serving side (``server``), arguments and output (``cli``).

Two halves that meet at the records only. The client half (``locations``, ``requests``,
``answers``, ``control``, ``client``) imports nothing of a node, so that a command answers within
its quarter of a second; the serving half is imported by whoever serves.
"""
