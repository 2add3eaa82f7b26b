"""What Lightning lacks for :func:`agnn_pyg.base.training.fit`: callbacks and logs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning import LightningModule as Module
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from agnn_pyg.base.config import Fraction, PositiveInt, check_argument
from agnn_pyg.base.randomness import mix
from agnn_pyg.base.store import atomic_write


class EMA(WeightAveraging):
    """An exponential moving average of the weights, validated and kept.

    Unlike Lightning's ``EMAWeightAveraging`` it updates all parameters in one call,
    works with half and double precision, and suits its horizon of
    :math:`1 / (1 - d)` steps to the run: an average over more than a third of the steps
    would still hold the initial weights. At small batches an update costs as much as an
    optimizer step, so that one every few steps is enough.
    """

    def __init__(self, decay: float, every: int = 1) -> None:
        self.decay = check_argument('ema_decay', decay, Fraction)
        self.every = check_argument('ema_every', every, PositiveInt)
        super().__init__(use_buffers=False, multi_avg_fn=self._average)

    def setup(self, trainer: pl.Trainer, module: Module, stage: str) -> None:
        super().setup(trainer, module, stage)
        # Lightning converts the module only after the average was copied from it.
        if stage == 'fit':
            trainer.precision_plugin.convert_module(self._average_model)

    def on_train_start(self, trainer: pl.Trainer, module: Module) -> None:
        decay = min(self.decay, max(0.0, 1 - 3 / module.schedule_steps))
        self._update = get_ema_multi_avg_fn(decay**self.every)

    def should_update(
        self, step_idx: int | None = None, epoch_idx: int | None = None
    ) -> bool:
        return step_idx is not None and step_idx % self.every == 0

    def _average(self, *args: Any) -> None:
        self._update(*args)


class ResumableStopping(EarlyStopping):
    """Ends a resumed run that had stopped, unless it now has more patience."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        patience = self.patience
        super().load_state_dict(state_dict)
        if patience > self.patience:
            self.stopped_epoch = 0
        self.patience = patience

    def on_train_start(self, trainer: pl.Trainer, module: Module) -> None:
        # Never the first epoch: it is the best so far.
        if self.stopped_epoch:
            trainer.should_stop = True


class MovableCheckpoint(ModelCheckpoint):
    """A checkpoint that remembers its best score where the folder of a run is moved."""

    def __init__(self, folder: Path, name: str, **options: Any) -> None:
        options |= {'save_on_train_epoch_end': True, 'enable_version_counter': False}
        super().__init__(folder, filename=name, **options)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        old, new = str(state_dict['dirpath']), str(self.dirpath)

        def moved(value: Any) -> Any:
            if isinstance(value, dict):
                return {moved(k): v for k, v in value.items()}
            return value.replace(old, new) if isinstance(value, str) else value

        super().load_state_dict({k: moved(v) for k, v in state_dict.items()})


class AtomicCheckpoints(TorchCheckpointIO):
    """Renames a checkpoint into place; Lightning's may leave half a file if killed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str, storage_options: Any = None
    ) -> None:
        with atomic_write(path) as aside:
            torch.save(checkpoint, aside)


class EpochSeed(pl.Callback):
    """Seeds each epoch and process, so that a resumed run repeats a whole one."""

    def on_train_epoch_start(self, trainer: pl.Trainer, module: Module) -> None:
        seed = epoch_seed(module, trainer.current_epoch, trainer.global_rank)
        torch.manual_seed(seed)


class FiniteWeights(pl.Callback):
    """Raises ``ValueError`` where a run diverges, before its weights are kept."""

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Module, *args: Any
    ) -> None:
        # Once an epoch: a check in every step would wait for the device.
        finite = (bool(weight.isfinite().all()) for weight in module.parameters())
        if trainer.is_last_batch and not all(finite):
            self._raise('weights are not finite', trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: Module) -> None:
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            raise ValueError(
                f"'monitor' must be one of {', '.join(metrics)} (got {self.monitor!r})"
            )
        if not metrics[self.monitor].isfinite():
            self._raise(f"'{self.monitor}' is {metrics[self.monitor]:g}", trainer)

    def _raise(self, found: str, trainer: pl.Trainer) -> None:
        raise ValueError(
            f'Training diverged in epoch {trainer.current_epoch}: {found}; lower the '
            f"learning rate 'lr', or set 'gradient_clip'"
        )


class History(pl.Callback):
    """Keeps the metrics of every epoch; ``CSVLogger`` starts over in a resumed run."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Module) -> None:
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        # A run killed before this epoch's checkpoint repeats the epoch.
        self.epochs = self.epochs[: trainer.current_epoch]
        self.epochs.append({'epoch': trainer.current_epoch, **metrics})
        if self.path is not None and trainer.is_global_zero:
            with atomic_write(self.path) as aside:
                pd.DataFrame(self.epochs).to_csv(aside, index=False)

    def state_dict(self) -> dict[str, Any]:
        return {'epochs': self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state['epochs']


def epoch_seed(module: Module, epoch: int, rank: int = 0) -> int:
    """The seed of what one of several processes draws in an epoch."""
    seed = mix(getattr(module, 'seed', 0) + mix(epoch))
    return mix(seed + rank) if rank else seed


class EpochMeans:
    """Means of loss terms over an epoch; :obj:`log` in every step is slower."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._values: list[Tensor] = []
        self._weights: list[int] = []

    def add(self, terms: Mapping[str, Tensor], weight: int) -> None:
        """Adds the terms of a batch of :obj:`weight` examples."""
        self._names = tuple(terms)
        self._values.append(torch.stack([t.detach() for t in terms.values()]))
        self._weights.append(weight)

    def pop(self) -> dict[str, Tensor]:
        """The means by name, on the device of the terms, and starts over."""
        values, weight = torch.stack(self._values), torch.tensor(self._weights)
        mean = weight.double() @ values.cpu().double() / weight.sum()
        # Processes share values on their own devices only.
        mean = mean.float().to(values.device)
        self.clear()
        return {f'train_{n}': v for n, v in zip(self._names, mean, strict=True)}
