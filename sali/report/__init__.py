"""The one place that shows: tables, figures and a page of a run, an evaluation or a sweep.

Everything is made of what lies in a folder; only pictures of frames need the frames as well.
"""
