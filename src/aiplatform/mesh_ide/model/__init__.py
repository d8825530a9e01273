"""The words every part shares: ids, enums, entries, messages and the root of all errors.

Owns the frozen records that cross a package, a process or a machine. Refuses behaviour beyond
what a record can say about itself; imports nothing else of ours. Records that travel or rest on
disk are ``msgspec`` Structs encoded as MessagePack arrays: a field is only ever added at the end,
with a default, and never reused (https://jcristharif.com/msgspec/schema-evolution.html).
"""
