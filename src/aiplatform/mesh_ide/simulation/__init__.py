"""The simulator: many real nodes in one process, under a virtual clock, network and disk.

Owns everything around a ``NodeCore`` that a test has to control: time (``clock``), links
(``network``), disks with their faults (``disk``), what people and programs do (``users``), how
much goes wrong (``faults``), and a record of what users were told (``oracle``), against which the
end of every run is checked (``checks``). ``node`` runs the very same core, jobs and outgoing
generators as the driver does; ``world`` puts a number of them together from one seed. Refuses
anything that production would not meet: no access to a core's inside decides what happens.

``transport`` puts the ``Transport`` port over the same network (on the event loop of ``loop``, in
virtual time), so that the port's contract suite holds the network to what real links promise.

How data passes: one agenda of timed actions; an action hands an event to a node, its core answers
with commands, commands become later actions. Chance comes from one seeded generator, so that a
seed replays byte for byte (``World.trace_hash``). After the faults of a run are healed, the world
must become quiet, equal everywhere, and hold whatever was acknowledged. The method is that of
FoundationDB (https://apple.github.io/foundationdb/testing.html) and of TigerBeetle's VOPR.
"""
