"""Benchmarks: the same measures, taken the same way, of our product and of its peers.

``trees`` makes the folders, ``watch`` decides when something was *seen*, ``peer`` says what can
be measured of a program, ``peers`` and ``syncthing`` drive the programs that Debian packs,
``harness`` runs the measures and prints the table with ratios. ``make bench`` runs everything;
each run also leaves a JSON file in ``bench/results``.

Everything stays on this machine: traffic goes over loopback alone, every wait has an end, and
what was started is ended by its process id.
"""
