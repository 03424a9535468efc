"""Commands that are interrupted, and disks, files and workers that fail in mid-run: `make faults`.

PYTHONPATH=tests python -m faults --cases 30 --seed 1 [kind ...]

A case is a kind of command, a way of disturbing it and a moment. After it nothing half-written has
the name of a whole thing, the same command ends well or says in one line why not, and the result is
that of a run that nothing disturbed. `--only NAME` does one case again and keeps its folder.
"""
