"""The store on a real disk: SQLite through ``apsw``, which brings its own current SQLite.

Owns ``mesh.db`` (with its ``-wal`` and ``-shm``) and ``lock`` in a node's state directory::

    open ─▶ lock (flock, one store a directory) ─▶ schema (ordered migrations) ─▶ writer + readers
    commit ─▶ writer: one transaction, one sync of the write-ahead log ─▶ returned = durable
    reads  ─▶ readers: a small pool of read connections, each read a page of rows, then let go

Refuses a newer schema, another program's database, and a directory in use. Iterators never hold a
read transaction between two items, since that would keep the log from being recycled
(https://sqlite.org/wal.html#avoiding_excessively_large_wal_files). A store must not be carried
across ``fork`` (https://sqlite.org/howtocorrupt.html, section 2.6): workers are spawned.
"""
