"""Who somebody is, what they may do, and how their words are known to be theirs.

Owns keys and signatures (RFC 8032), Merkle batches of entries (RFC 9162, section 2.1), session
certificates, the signed roster and its evaluation, tickets and the join protocol's records, and
the seal between two nodes. Refuses to keep state, read clocks or draw random numbers: those come
in as arguments; only ``keystore`` touches files.

How data passes: ``keystore`` -> ``keys`` -> ``sessions`` certify -> ``batches`` seal and open
entries (``entry_rules``, ``merkle``, ``subsets``) -> ``roster`` says whose entries count:
``records`` are its signed sentences, ``membership`` writes new ones, ``evaluation`` decides which
stand (strong removal), ``labels`` names members for people. ``tickets`` -> ``joining`` -> a new
record. ``sealing`` hides frames from those who relay them.
"""
