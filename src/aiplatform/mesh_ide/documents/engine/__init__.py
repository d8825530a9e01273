"""Loro behind ``ports.engine``: texts that merge, the tree of names, and who wrote what.

Owns every call into the ``loro`` library (https://loro.dev, 1.17), the derivation of its peer
ids, the way from two texts to operations, and a bounded cache of documents. Refuses operations
of anybody but an entry's author before they are imported, payloads that are not plain updates,
updates that do not build exactly on their entry's parents, and payloads of more operations than
a replica can apply in bounded time. Decides nothing about entries: no signatures, no storage.

How data passes: ``payload`` looks at bytes before import; ``lineage`` is one text's document and
the map from entries to versions of it; ``operations`` looks at what was imported before it is
believed; ``text`` keeps a bounded number of lineages; ``diff`` (on ``alignment``) turns two texts
into hunks; ``tree`` is the document of names. A document is always a cache: everything here can
be dropped and built again from the entries, with equal results.
"""
