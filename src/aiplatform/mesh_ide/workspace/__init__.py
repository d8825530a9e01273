"""The folder of a workspace and its documents, kept equal in both directions.

Owns what is believed of the folder (``folder``, ``records``), the judgement of what a program did
there (``core_observe``, ``core_deletions``), what has to change on the disk (``core_apply``), and
which paths are not looked at (``ignore``, ``gitignore``). Refuses to touch a file itself: that is
``adapters``, behind ``ports.filetree``; refuses to author or merge: that is ``documents``.

In: what a look at the folder found, what the ledger says changed. Out: submissions to author,
writes to apply, paths to look at again. A write goes by exchange, and whatever comes out of it
that was not expected is looked at as a person's edit; ignoring a path never deletes it.

Sources: gitignore(5); "racy git" (https://git-scm.com/docs/racy-git); renameat2(2).
"""
