"""Speed and memory against the released way of computing, on the machine at hand.

Each group is one file with one function of plain values: ``parts``, ``frames``, ``growth`` and
``training``. They build what they need from a ``Setup``, so that a fresh process can build the same
and tell its peak of memory.
"""
