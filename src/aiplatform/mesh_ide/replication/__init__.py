"""Replication: every node that should have an entry or a content comes to have it.

Owns: set reconciliation of heads when a link comes up (``reconcile``), live push after that, the
fetching of contents (``fetch``), and the knowledge of who has stored what (``core``). Refuses:
what an entry means (``documents``) and where content stands (``workspace``).

One message both acknowledges and announces: ``Stored`` says "I have these heads, entries and
content, on my disk". A peer that hears of a head it does not know asks for what it lacks, so an
entry reaches everybody even when its author is connected to one node only.

Reconciliation follows A. Meyer, "Range-Based Set Reconciliation" (2023, arXiv:2212.13567).
"""
