"""The Lightning task: steps, logging, optimizer, what a checkpoint says about itself."""

import copy
import logging
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from sali.data.datamodule import ClipData
from sali.data.samples import Frame
from sali.errors import ConfigError, DivergedError
from sali.metrics.fixed_threshold import FixedThresholdScores
from sali.models.blocks import resize
from sali.models.contract import ClipBatch, VideoSegmenter, VideoState
from sali.run.processes import gathered
from sali.streaming import ClipRunner, StreamSegmenter, prepare_network
from sali.streaming.segmenter import normalize_map

log = logging.getLogger(__name__)

MONITOR = "val/frame_dice_at_0.5"
OLD_MONITOR = "val/dice_at_0.5"
"""Name of the same score in checkpoints of earlier versions."""


class SegmentationTask(L.LightningModule):
    """Train on samples of frames; validate by streaming whole clips.

    Args:
        network: Network to train.
        loss: Loss of the logits of all heads, at the masks' size, against the masks.
        optimizer: Makes an optimizer of parameter groups.
        scheduler: Makes Lightning's scheduler entry of (optimizer, total_steps=...).
        about: What a checkpoint says about itself, see `sali.models.checkpoint.describe`;
            validation streams with its settings and scores its kind of maps.
        pretrained_lr_ratio: Learning rate of the network's pretrained part over that of the rest.
        weight_decay: Weight decay of weights; biases and norms have none.
    """

    def __init__(
        self,
        network: VideoSegmenter,
        loss: Callable[[list[Tensor], Tensor], Tensor],
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        scheduler: Callable[..., dict[str, Any]],
        about: dict[str, Any],
        pretrained_lr_ratio: float,
        weight_decay: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self._optimizer = optimizer
        self._scheduler = scheduler
        self.about = about
        self.pretrained_lr_ratio = pretrained_lr_ratio
        self.weight_decay = weight_decay
        self._val_scores: FixedThresholdScores | None = None
        self._runner: ClipRunner | None = None
        self._random_state: dict[str, Tensor] | None = None
        self._loss = torch.tensor(0.0)
        self._finite = torch.tensor(True)

    # --- training ---

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        target = batch.masks[:, self.network.roles.index("current")]
        size = (target.shape[2], target.shape[3])
        logits = [resize(one, size=size) for one in self.network(batch)]
        loss = self.loss(logits, target)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(target))
        self._loss = loss.detach()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: ClipBatch, batch_idx: int) -> None:
        # Lightning validates after a batch that ends an epoch, or a training that should stop.
        if 0 < self.trainer.max_steps <= self.trainer.global_step:
            self.trainer.should_stop = True
            if self.trainer.check_val_every_n_epoch:
                self.trainer.check_val_every_n_epoch = 1

    def configure_optimizers(self) -> Any:
        try:
            optimizer = self._optimizer(self._parameter_groups())
        except (TypeError, ValueError) as error:
            raise ConfigError(f"optimizer: {error}") from error
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_ratio"]
        plugin = self.trainer.precision_plugin
        scales = isinstance(plugin, MixedPrecision) and plugin.scaler is not None
        if scales and self.trainer.gradient_clip_val and optimizer.defaults.get("fused"):
            raise ConfigError(
                "trainer.precision=16-mixed scales gradients, which a fused optimizer unscales too "
                "late for clipping; give optimizer.fused=false, or trainer.precision=bf16-mixed"
            )
        total = self.trainer.estimated_stepping_batches
        return {
            "optimizer": optimizer,
            "lr_scheduler": self._scheduler(optimizer, total_steps=total),
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer says, also with a fused optimizer under bfloat16.

        Lightning refuses fused optimizers under any autocast; without a gradient scaler there is
        nothing to unscale, and clipping is as in float32.

        Raises:
            DivergedError: The loss or a gradient is not finite; the weights are still those of
                before the step. A gradient scaler leaves out steps of such gradients by itself.
        """
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision) and plugin.scaler is not None:
            if not torch.isfinite(self._loss):
                raise self._diverged(f"step {self.global_step + 1}: the loss")
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not torch.isfinite(norm + self._loss):
            raise self._diverged(f"step {self.global_step + 1}: the loss or a gradient")
        if gradient_clip_val and gradient_clip_algorithm == GradClipAlgorithmType.VALUE:
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        elif gradient_clip_val:
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def _diverged(self, what: str) -> DivergedError:
        rates = [group["lr"] for group in self.trainer.optimizers[0].param_groups]
        return DivergedError(
            f"{what} is not finite (learning rate {max(rates):.3g}); lower optimizer.lr, or look "
            "for broken input; checkpoints/ holds the last good state, if an epoch was finished"
        )

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the network's groups, each with and without weight decay."""
        groups = []
        for name, parameters in self.network.parameter_groups().items():
            ratio = self.pretrained_lr_ratio if name == "pretrained" else 1.0
            for is_weight in (True, False):
                members = [p for p in parameters if (p.ndim > 1) == is_weight]
                decay = self.weight_decay if is_weight else 0.0
                if members:
                    groups.append({"params": members, "lr_ratio": ratio, "weight_decay": decay})
        return groups

    # --- validation ---

    @property
    def video(self) -> VideoState | None:
        """State of the clip that is being streamed, until the next one begins."""
        segmenter = self._runner.segmenter if self._runner else None
        return segmenter.video if segmenter else None

    def on_train_start(self) -> None:
        # Every forward of DDP would wait for all processes to share buffers, also in validation,
        # where they have different numbers of frames. They are shared once before it instead.
        if isinstance(self.trainer.strategy.model, DistributedDataParallel):
            self.trainer.strategy.model.broadcast_buffers = False
        if self._random_state is not None:
            torch.set_rng_state(self._random_state["cpu"].cpu())
            if "cuda" in self._random_state and self.device.type == "cuda":
                torch.cuda.set_rng_state(self._random_state["cuda"].cpu(), self.device)
            self._random_state = None
        elif self.trainer.world_size > 1:  # each process draws its own
            torch.manual_seed(torch.initial_seed() + self.trainer.global_rank)

    def on_validation_epoch_start(self) -> None:
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)
        data: ClipData = self.trainer.datamodule  # type: ignore[attr-defined]
        self._val_scores = FixedThresholdScores(len(data.val_clips)).to(self.device)
        self._finite = torch.tensor(True, device=self.device)
        streaming = self.about["streaming"]
        network = prepare_network(copy.deepcopy(self.network), streaming["image_size"])
        self._runner = ClipRunner(lambda: StreamSegmenter(network, **streaming))

    def validation_step(self, frame: Frame, batch_idx: int) -> None:
        assert self._val_scores is not None and self._runner is not None
        for done, probability, _ in self._runner.push([frame]):
            self._finite = self._finite & torch.isfinite(probability).all()
            if done.mask is not None:  # a frame that somebody annotated
                shown = normalize_map(probability, self.about["maps"])
                self._val_scores.update(shown, done.mask.to(shown.device), done.clip)

    def on_validation_epoch_end(self) -> None:
        assert self._val_scores is not None
        if not self.trainer.strategy.reduce_boolean_decision(bool(self._finite), all=True):
            raise self._diverged(f"validation after step {self.global_step}: a probability")
        for name, value in self._val_scores.compute().items():
            self.log(f"val/{name}", value, prog_bar=f"val/{name}" == MONITOR, sync_dist=True)
        self._val_scores = self._runner = None

    # --- checkpoints ---

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["sali"] = self.about
        # Stochastic depth draws from the global generators: an exact resume puts them back.
        state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint["random_states"] = gathered(state)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Lightning finds the state of a callback by the name of what it monitors.
        checkpoint["callbacks"] = {
            key.replace(f"'{OLD_MONITOR}'", f"'{MONITOR}'"): state
            for key, state in checkpoint["callbacks"].items()
        }
        states, world_size = checkpoint["random_states"], self.trainer.world_size
        if len(states) == world_size:
            self._random_state = states[self.trainer.global_rank]
        elif self.trainer.is_global_zero:
            log.warning(
                "the checkpoint is of %d processes and there are %d: the resumed run will not end "
                "as it would have without the interruption",
                len(states),
                world_size,
            )
