"""Networks as bundles of graphs that run without PyTorch, see `sali.runtime`."""
