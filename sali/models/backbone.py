"""Image encoders from timm, as pyramids of strides 8, 16 and 32."""

import timm
from torch import Tensor, nn

from sali.models.blocks import Pyramid

STRIDES = [8, 16, 32]


class Backbone(nn.Module):
    """Any timm feature backbone that offers strides 8, 16 and 32.

    Built without weights; see ``sali.models.weights`` for those.

    Args:
        name: a timm model name, e.g. ``pvt_v2_b5`` or ``tf_efficientnet_lite0``.
        drop_path_rate: stochastic depth of the deepest block.

    Raises:
        ValueError: unknown name, or a model without the three strides.
    """

    def __init__(self, name: str, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        if name not in timm.list_models():
            close = timm.list_models(f"*{name.split('.')[0][:8]}*")[:8]
            raise ValueError(f"timm has no model {name!r}; names like it: {close or 'none'}")
        # "getter" keeps timm's own tensor names, so weight files need no renaming.
        features = timm.create_model(
            name,
            features_only=True,
            feature_cls="getter",
            out_indices=(-3, -2, -1),
            drop_path_rate=drop_path_rate,
        )
        strides = features.feature_info.reduction()
        if strides != STRIDES:
            raise ValueError(f"backbone {name} has features of strides {strides}; wanted {STRIDES}")
        self.name = name
        self.features = features
        self.channels: list[int] = features.feature_info.channels()

    def forward(self, images: Tensor) -> Pyramid:
        """Features [B, channels[i], H/stride, W/stride] of normalised images [B, 3, H, W]."""
        return list(self.features(images))
