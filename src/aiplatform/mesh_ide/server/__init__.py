"""Faces of a serving node. For now one: the control socket.

Owns: who may connect (this user alone), frames, calls under way, cancellation when a client goes
away. Refuses: what a request means (``api.operations``), output (``cli``).

A connection's bytes become calls; each call is a task of that connection's task group; what it
answers goes out in one queue per connection, so a slow reader holds up itself alone.
"""
