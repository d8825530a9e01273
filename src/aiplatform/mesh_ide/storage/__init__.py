"""What a node keeps across a crash, and the contents it has at hand.

Owns the two adapters of ``ports.store.Store`` and the one of ``ports.filetree.Contents``::

    PutEntries ─▶ verified slice ─▶ entries by dot, by id, by file; the batch header once
    PutRecord  ─▶ small values by (kind, key)
    PutBlob, PutChunk ─▶ chunks of 1 MiB, each with its own hash
    slices()   ◀─ whole batches, or entries with their inclusion proofs

* ``memory.MemoryStore`` on a ``memory_disk.MemoryDisk``: the simulator's disk, which can be full,
  read-only, cut off or torn, and keeps exactly the commits that were synced.
* ``sqlite.store.SqliteStore``: one write connection, WAL, ``synchronous=FULL``: a commit that
  returned is on the disk (https://sqlite.org/wal.html, https://sqlite.org/pragma.html).
* ``contents.StoreContents``: cache, then archive, then a file of the working folder.

Refuses to judge what it stores: signatures, roles and chains were checked before. It does refuse a
second entry under a stored (session, sequence), and it never gives out bytes that do not match
their hash. ``slicing`` decides how stored entries travel; both stores share it.
"""
