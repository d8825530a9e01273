"""Documents: every file's history, its content and its place in the tree.

Owns the state that follows from entries (heads, lineages, versions, liveness: ``state`` and
``ledger``), the writing and taking in of entries (``authoring``, ``intake``), the index of paths
(``places``) and, in ``engine``, everything that touches the Loro library. Refuses entries that
do not fit what is known, updates with somebody else's operations, and names that cannot stand in
a path. Knows no folder, no link and no clock.

How data passes: an entry comes in verified, changes its file's state, is persisted, and only then
announced; contents are computed by the engine as jobs, from entries alone. A text's merging is
Fugue as Loro builds it (https://arxiv.org/abs/2305.00583), the tree's is the replicated move of
Kleppmann et al. (https://martin.kleppmann.com/papers/move-op.pdf).
"""
