"""Sweeps of the training command: jobs in processes of their own, and one table of their scores.

The folder of a sweep is all its state: each job's folder says what it was, how it ended and what it
scored, so any launcher can run it, any process can read it, and the same command resumes it.
"""

from sali.sweeps.job import is_sweep, job_name, run_job

__all__ = ["is_sweep", "job_name", "run_job"]
