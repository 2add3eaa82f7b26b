"""Lightning callbacks: weight averaging, exact resume, history, divergence checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import LightningModule as Module
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch.optim.swa_utils import get_ema_multi_avg_fn

from agnn_pyg.base.config import Fraction, check_argument
from agnn_pyg.base.randomness import mix
from agnn_pyg.base.store import atomic_write


class EMA(WeightAveraging):
    """Exponential moving average of the weights, used for validation and the result.

    Unlike Lightning's ``EMAWeightAveraging``, it averages over at most a third of the
    steps. A longer average would still contain the initial weights.
    """

    def __init__(self, decay: float) -> None:
        self.decay = check_argument('ema_decay', decay, Fraction)
        super().__init__(use_buffers=False, multi_avg_fn=self._average)

    def on_train_start(self, trainer: pl.Trainer, module: Module) -> None:
        decay = min(self.decay, max(0.0, 1 - 3 / module.schedule_steps))
        self._update = get_ema_multi_avg_fn(decay)

    def _average(self, *args: Any) -> None:
        self._update(*args)


class Stopping(EarlyStopping):
    """Early stopping that also ends a resumed run if the run had stopped early."""

    def on_train_start(self, trainer: pl.Trainer, module: Module) -> None:
        # 0 means not stopped: a run never stops in epoch 0.
        if self.stopped_epoch:
            trainer.should_stop = True


class Checkpoint(ModelCheckpoint):
    """A ``ModelCheckpoint`` that keeps its best score if the folder has been moved."""

    def __init__(self, folder: Path, name: str, **options: Any) -> None:
        super().__init__(
            folder,
            filename=name,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
            **options,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict | {'dirpath': self.dirpath})


class AtomicIO(TorchCheckpointIO):
    """Writes checkpoints atomically: a killed process leaves no partial file."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str, storage_options: Any = None
    ) -> None:
        with atomic_write(path) as aside:
            torch.save(checkpoint, aside)


class EpochSeed(pl.Callback):
    """Seeds each epoch and process: a resumed run equals an uninterrupted one."""

    def on_train_epoch_start(self, trainer: pl.Trainer, module: Module) -> None:
        seed = epoch_seed(module, trainer.current_epoch, trainer.global_rank)
        torch.default_generator.manual_seed(seed)
        device = trainer.strategy.root_device
        if device.type != 'cpu':
            torch.get_device_module(device).manual_seed(seed)


class FiniteWeights(pl.Callback):
    """Raises ``ValueError`` if training diverges, before the weights are saved."""

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_train_batch_end(self, trainer: Any, module: Module, *args: Any) -> None:
        # Once an epoch: a check in every step would wait for the device.
        finite = (bool(weight.isfinite().all()) for weight in module.parameters())
        if trainer.is_last_batch and not all(finite):
            raise diverged(f'epoch {trainer.current_epoch}: weights are not finite')

    def on_validation_end(self, trainer: pl.Trainer, module: Module) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and not value.isfinite():
            epoch = trainer.current_epoch
            raise diverged(f"epoch {epoch}: '{self.monitor}' is {value:g}")


class History(pl.Callback):
    """Records the metrics of each epoch, and a hash of the data and settings."""

    def __init__(self, fingerprint: str | None) -> None:
        self.epochs = []
        self.fingerprint = fingerprint

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Module) -> None:
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        # A run killed before this epoch's checkpoint repeats the epoch.
        self.epochs = self.epochs[: trainer.current_epoch]
        self.epochs.append({'epoch': trainer.current_epoch, **metrics})

    def state_dict(self) -> dict[str, Any]:
        return {'epochs': self.epochs, 'fingerprint': self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state['epochs']


def diverged(found: object) -> ValueError:
    """The error for diverged training; :obj:`found` is the symptom."""
    remedy = "lower the learning rate 'lr', set 'gradient_clip', or scale features to 1"
    return ValueError(f'Training diverged ({found}); {remedy}')


def epoch_seed(module: Module, epoch: int, rank: int = 0) -> int:
    """The seed of an epoch in the process :obj:`rank`."""
    seed = mix(getattr(module, 'seed', 0) + mix(epoch))
    return mix(seed + rank) if rank else seed
