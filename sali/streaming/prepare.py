"""Make a trained network fast for streaming; the numbers stay the same up to rounding."""

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sali.models.contract import VideoSegmenter

log = logging.getLogger(__name__)

PRECISIONS = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}
"""Name in configurations -> what autocast computes in; None is plain float32."""
TOLERANCE = 1e-3
"""Largest difference that folding may make, over the largest logit; rounding makes far less."""


def prepare_network(
    network: VideoSegmenter,
    image_size: int,
    precision: str = "32",
    compile_network: bool = False,
) -> VideoSegmenter:
    """Fold batch norms into convolutions, merge layers, put channels innermost; for inference only.

    Args:
        network: Network, which is changed, so that no second copy needs memory; give a copy to
            continue training.
        image_size: Side in pixels of the images that it will see.
        precision: Precision of the segmenter, see `PRECISIONS`. Weights which autocast would
            convert for every frame are converted once.
        compile_network: Also compile it with `torch.compile`; the first frames then take minutes.

    Returns:
        The network, in evaluation mode.

    Raises:
        ValueError: An unknown precision or an image size that the network cannot take.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: got {precision!r}, wanted one of {tuple(PRECISIONS)}")
    network.check_image_size(image_size)
    network.eval().merge_layers()
    fold_batch_norms(network, image_size)
    network.to(memory_format=torch.channels_last)
    dtype = PRECISIONS[precision]
    if dtype is not None:
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(dtype)
    if compile_network:
        log.info("torch.compile: the first frames take minutes")
        network.compile_for_streaming()
    return network


@torch.no_grad()
def fold_batch_norms(network: VideoSegmenter, image_size: int) -> None:
    """Remove the batch norms that directly follow a convolution, which takes over their work.

    Which ones do is seen from a frame that the network segments, so it works for any network. A
    fold that changes the result (a convolution whose output is also used elsewhere) is undone with
    a warning.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, image_size, image_size, generator=generator)
    image = image.to(next(network.parameters()).device)
    expected = _logits(network, image)
    pairs = _conv_bn_pairs(network, lambda: _logits(network, image))
    before: dict[str, nn.Module] = {}
    for conv_name, norm_name in pairs.items():
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        before |= {conv_name: conv, norm_name: norm}
        folded = fuse_conv_bn_eval(conv, norm)  # type: ignore[type-var, arg-type]
        network.set_submodule(conv_name, folded)
        network.set_submodule(norm_name, _what_follows(norm))
    difference = (_logits(network, image) - expected).abs().max() / expected.abs().max()
    log.debug("folded %d batch norms, logits differ by %.2g of the largest", len(pairs), difference)
    if difference < TOLERANCE:
        return
    for name, module in before.items():
        network.set_submodule(name, module)
    warnings.warn(
        f"batch norms of {type(network).__name__} are left as they are (folding them would "
        f"change logits by {difference:.2g} of the largest): slower, same results",
        stacklevel=2,
    )


def _logits(network: VideoSegmenter, image: Tensor) -> Tensor:
    video = network.start()
    logits = video.step(network.encode(image))
    if logits is None:  # it looks ahead
        logits = video.flush()
    assert logits is not None, "a video of one frame has one result"
    return logits


def _what_follows(norm: nn.Module) -> nn.Module:
    """Return what is left of a norm: timm's may carry an activation."""
    rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    rest = [module for module in rest if not isinstance(module, nn.Identity)]
    return nn.Sequential(*rest) if rest else nn.Identity()


def _conv_bn_pairs(network: nn.Module, run: Callable[[], Any]) -> dict[str, str]:
    """Return names of convolutions and of the batch norms that are given their output itself."""
    outputs: list[tuple[Tensor, str]] = []  # kept, so that no tensor takes another one's place
    pairs: dict[str, str] = {}
    handles = []

    def after(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            outputs.append((output, name))
            return
        for tensor, conv_name in outputs:
            if tensor is inputs[0]:
                pairs[conv_name] = name

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            handles.append(module.register_forward_hook(partial(after, name)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return pairs
