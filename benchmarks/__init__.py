"""Speed and memory against the released way of computing, on the machine at hand.

`python -m benchmarks` in a checkout; it is no part of the installed package. Each group is one file
with one function of plain values: `parts`, `frames`, `export`, `live`, `growth`, `training`,
`loader`. They build what they need from a `Setup`, so that a fresh process can build the same and
measure its own peak of memory, and another checkout its own speed.
"""
