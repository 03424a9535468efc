"""The SALI network and its memory bank. Plain PyTorch: no Lightning, no Hydra."""
