"""The command line: arguments, output, exit codes.

Owns the words people type (``main`` and the ``verbs_*`` modules), what they see (``present``,
``output``), and the process that serves (``serve``, ``daemon``). Refuses to decide anything: a
verb puts one request over the control socket and shows the answer.

Quickness is a feature: ``main`` imports a verb's module when that verb is typed, nothing of a node
is imported unless this process is to serve, and ``rich`` only where something moves.

Data goes to stdout, messages to stderr. Exit codes come from ``model.errors``.
"""
