"""Damaged and hostile inputs, by the thousand: `make fuzz`.

PYTHONPATH=tests python -m fuzz --cases 10000 --seed 1 [kind ...]

A case is a kind, a seed and a number; `--only NUMBER` does one again in this process, with its
traceback. Either a case gives the right kind of result or an error that the kind allows, in one
line. It must not crash the process, take too long or too much memory, start programs, or write
outside of its folder.
"""
