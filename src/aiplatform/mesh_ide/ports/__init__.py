"""What the pure parts need of the world, as Protocols and frozen records.

Every port has a contract suite in ``tests/contract`` that each of its adapters passes. Ports are
synchronous: the driver decides on which thread or process a call runs, the simulator runs it in
line. The one exception is the link transport, whose answers come as events.
"""
