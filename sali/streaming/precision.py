"""Number formats of inference."""

import torch

PRECISIONS = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}
"""Name in configurations -> what autocast computes in; None is plain float32."""
