"""The life of a run: its record and state, checkpoints, loggers, processes and progress."""
