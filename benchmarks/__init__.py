"""Speed and memory against the released way of computing, on the machine at hand.

`python -m benchmarks` in a checkout; it is no part of the installed package. A group is one
function of plain values in the file of its name (`export` is in `frames`): `parts`, `frames`,
`live`, `growth`, `training`, `loader`. They build what they need from a `Setup`, so that a fresh
process can build the same and measure its own peak of memory, and another checkout its own speed.
"""
