"""Working folders: the real one, one in memory, and what tells us that something changed.

Owns the file calls of the workspace. ``LocalFileTree`` works below one directory descriptor and
never follows a link; ``MemoryFileTree`` is the simulator's disk; both look through the same
``walk`` and pass ``tests/contract/test_filetree.py``. ``FolderWatcher`` yields paths to look at:
hints, never facts, since events come late, twice or (after an overflow) not at all. Refuses to
decide what a change means: that is ``workspace.core``.

A look: ``walk`` asks the rules (``workspace.ignore``), compares stats, reads and hashes what
changed. A change: prepared beside the target, made durable, put in place by exchange, and what
came out is checked before it goes (renameat2(2); "racy git":
https://git-scm.com/docs/racy-git).
"""
