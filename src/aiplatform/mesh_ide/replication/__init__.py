"""Replication: every node that should have an entry or a content comes to have it.

Owns: the knowledge of who has stored what (``holdings``, over the index of ``heads``), the
conversation with each peer and live push (``core``), set reconciliation of heads when a link comes
up (``reconcile``), when to ask for what was announced and did not come (``unheard``), what nobody
takes of this node (``own_work``), and the fetching of contents (``fetch``). Refuses: what an entry
means (``documents``) and where content stands (``workspace``).

In: links, messages of peers, what the ledger says became durable, which files are complete. Out:
``commands``. A part returns what is to be said; ``core`` alone addresses it to a channel.

One message both acknowledges and announces: ``Stored`` says "I have these heads, entries and
content, on my disk". A peer that hears of a head it does not know asks for what it lacks, so an
entry reaches everybody even when its author is connected to one node only.

Reconciliation follows A. Meyer, "Range-Based Set Reconciliation" (2023, arXiv:2212.13567).
"""
