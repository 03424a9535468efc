"""Networks. Plain PyTorch: no Lightning, no Hydra."""
