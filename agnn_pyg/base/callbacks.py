"""What the training engine is given beside a module: loaders and callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, WeightAveraging
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch.optim.swa_utils import get_ema_multi_avg_fn

from agnn_pyg.base.rules import SHARE, check_rule
from agnn_pyg.sampling.batch import RatingBatch
from agnn_pyg.sampling.loader import RatingLoader


class EachEpoch:
    """A training loader, set to the epoch that is about to run and to a process.

    The engine makes an iterator before any hook of an epoch runs, and before it
    knows the epoch of a resumed run: so the epoch is set with the first batch.
    (A data module would do, too, but the engine looks up its hooks anew for
    every batch.)
    """

    def __init__(self, loader: RatingLoader, trainer: pl.Trainer) -> None:
        self.loader, self.trainer = loader, trainer

    def __len__(self) -> int:
        self.loader.share(self.trainer.global_rank, self.trainer.world_size)
        return len(self.loader)

    def __iter__(self) -> Iterator[RatingBatch]:
        self.loader.share(self.trainer.global_rank, self.trainer.world_size)
        self.loader.set_epoch(self.trainer.current_epoch)
        yield from self.loader


class MovingAverage(WeightAveraging):
    """An exponential moving average of the weights.

    Args:
        decay (float): Share of the average that a step keeps. An average reaches back
            over :math:`1 / (1 - d)` steps, here over a third of the run at most: a
            short one would never leave the weights that it began with. The update is
            made every fourth step, with the fourth power: at small batches it would
            otherwise cost as much as the optimizer.
    """

    EVERY = 4

    def __init__(self, decay: float) -> None:
        self.decay = self.keep = check_rule(decay, 'ema_decay', SHARE)
        super().__init__(use_buffers=False, multi_avg_fn=self._average)

    def setup(
        self, trainer: pl.Trainer, module: pl.LightningModule, stage: str
    ) -> None:
        super().setup(trainer, module, stage)
        # The engine gives the module its precision only after it is copied.
        if stage == 'fit':
            trainer.precision_plugin.convert_module(self._average_model)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.keep = min(self.decay, max(0.0, 1 - 3 / module.schedule_steps))

    def should_update(
        self, step_idx: int | None = None, epoch_idx: int | None = None
    ) -> bool:
        return step_idx is not None and step_idx % self.EVERY == 0

    def _average(self, *args: Any) -> None:
        get_ema_multi_avg_fn(self.keep**self.EVERY)(*args)


class Patience(EarlyStopping):
    """Stops a run that improves no more, and at once one that was stopped before.

    The engine's own forgets that it had stopped a run, which would go on where it is
    resumed. Resumed with more patience, it may.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        patience = self.patience
        super().load_state_dict(state_dict)
        if patience > self.patience:
            self.stopped_epoch = 0
        self.patience = patience

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Never the first epoch: it is the best so far.
        if self.stopped_epoch:
            trainer.should_stop = True


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and renames it when it is whole.

    The engine writes to the system's temporary folder. To move it from there is
    to copy it where that is another file system, and a process killed meanwhile
    would leave half a checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str, storage_options: Any = None
    ) -> None:
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_name(f'.{place.name}.tmp')
        try:
            torch.save(checkpoint, aside)
            aside.replace(place)
        finally:
            aside.unlink(missing_ok=True)


class History(pl.Callback):
    """Keeps the metrics of every epoch, across resumed runs.

    Args:
        path (Path, optional): A CSV file to keep them in. The engine's own CSV
            logger starts its file anew when a run is resumed.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule):
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        # A run killed after this epoch's checkpoint repeats nothing, one
        # killed before it repeats the epoch: never list an epoch twice.
        self.epochs = self.epochs[: trainer.current_epoch]
        self.epochs.append({'epoch': trainer.current_epoch, **metrics})
        if self.path is not None and trainer.is_global_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            aside = self.path.with_suffix('.tmp')
            pd.DataFrame(self.epochs).to_csv(aside, index=False)
            aside.replace(self.path)

    def state_dict(self) -> dict[str, Any]:
        return {'epochs': self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state['epochs']
