"""Image encoders from timm, as pyramids of strides 8, 16 and 32."""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from sali.models.blocks import Pyramid
from sali.models.weights import load_pretrained

STRIDES = [8, 16, 32]


class Backbone(nn.Module):
    """Any timm feature backbone that offers strides 8, 16 and 32, built with random weights.

    Args:
        name: Name of a timm model, e.g. `pvt_v2_b5` or `tf_efficientnet_lite0`.
        weights: Where its weights come from, see `sali.models.weights.load_pretrained`. They are
            loaded by the method of that name, not here: a checkpoint brings its own.
        options: timm's own arguments of the model, e.g. `drop_path_rate`.

    Raises:
        ValueError: An unknown name, or a model without the three strides.
    """

    def __init__(self, name: str, weights: str | None = None, **options: Any) -> None:
        super().__init__()
        if name not in timm.list_models():
            close = timm.list_models(f"*{name.split('.')[0][:8]}*")[:8]
            raise ValueError(f"timm has no model {name!r}; names like it: {close or 'none'}")
        features = _create(name, (-3, -2, -1), options)
        strides = features.feature_info.reduction()
        if strides != STRIDES:
            with torch.device("meta"):
                offered = timm.create_model(name, features_only=True).feature_info.reduction()
            if not set(STRIDES) <= set(offered):
                raise ValueError(
                    f"backbone {name} has features of strides {offered}; wanted {STRIDES}"
                )
            features = _create(name, tuple(offered.index(stride) for stride in STRIDES), options)
        self.name = name
        self.weights = weights
        self.features = features
        self.channels: list[int] = features.feature_info.channels()

    def forward(self, images: Tensor) -> Pyramid:
        """Return features [B, channels[i], H/stride, W/stride] of images [B, 3, H, W]."""
        return list(self.features(images))

    def load_pretrained(self) -> bool:
        """Fill the encoder from `weights`; False if that is None.

        Raises:
            WeightsError: Weights that do not fill it completely or are not available.
        """
        if self.weights:
            load_pretrained(self.features.model, self.name, self.weights)
        return bool(self.weights)


def _create(name: str, indices: tuple[int, ...], options: dict[str, Any]) -> Any:
    try:
        # "getter" keeps timm's own tensor names, so weight files need no renaming.
        return timm.create_model(
            name, features_only=True, feature_cls="getter", out_indices=indices, **options
        )
    except TypeError as error:
        raise ValueError(f"backbone {name}: {error}; wanted arguments of the timm model") from error
