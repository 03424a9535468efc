"""Kinds of output; each is a `sali.prediction.Writer`."""
