"""Training AGNN on PyTorch Lightning. The layers do not import this file."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    TQDMProgressBar,
    WeightAveraging,
)
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.warnings import PossibleUserWarning
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from agnn_pyg.batch import RatingBatch
from agnn_pyg.loader import RatingLoader
from agnn_pyg.loss import agnn_loss
from agnn_pyg.model import AGNN
from agnn_pyg.pool import mix


class RatingModule(pl.LightningModule):
    r"""Trains :class:`~agnn_pyg.model.AGNN` on ratings.

    AdamW with a cosine schedule over all steps. Weight decay covers matrices
    only; the free parameters of nodes, which each see but a few ratings, learn
    faster and are held by their own term of the loss.

    Args:
        model (AGNN): The model to train.
        lr (float, optional): Learning rate. (default: :obj:`3e-3`)
        free_lr (float, optional): Learning rate of preferences and biases.
            (default: :obj:`3e-2`)
        weight_decay (float, optional): (default: :obj:`1e-2`)
        kl_weight (float, optional): See :func:`~agnn_pyg.loss.agnn_loss`, as
            the next two.
        reconstruction_weight (float, optional): (default: :obj:`0.1`)
        preference_weight (float, optional): (default: :obj:`0.01`)
        rating_range (tuple, optional): Predictions are clamped to it when they
            are scored. (default: :obj:`None`)
        seed (int, optional): Seeds each epoch anew, so that a resumed run
            repeats one that was left alone. (default: :obj:`0`)
    """

    def __init__(
        self,
        model: AGNN,
        lr: float = 3e-3,
        free_lr: float = 3e-2,
        weight_decay: float = 1e-2,
        kl_weight: float = 0.01,
        reconstruction_weight: float = 0.1,
        preference_weight: float = 0.01,
        rating_range: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.lr, self.free_lr, self.weight_decay = lr, free_lr, weight_decay
        self.loss_weights = {
            'kl_weight': kl_weight,
            'reconstruction_weight': reconstruction_weight,
            'preference_weight': preference_weight,
        }
        self.rating_range = rating_range
        self.seed = seed
        self.schedule_steps = 1
        self._terms: list[tuple[tuple[str, ...], Tensor, int]] = []
        self.metrics = MetricCollection(
            {'rmse': MeanSquaredError(squared=False), 'mae': MeanAbsoluteError()},
            prefix='val_',
        )

    def forward(self, batch: RatingBatch) -> Tensor:
        return self.model(batch)

    def on_train_epoch_start(self) -> None:
        # Dropout and latent noise follow the epoch, not what was drawn before.
        torch.manual_seed(mix(self.seed + mix(self.current_epoch)))
        # What an epoch that broke off has left behind is not of this one.
        self._terms.clear()
        self.metrics.reset()

    def training_step(self, batch: RatingBatch, batch_idx: int) -> Tensor:
        user, item = self.model.encode(batch)
        predicted = self.model.decode(user, item, batch.edge_label_index)
        terms = agnn_loss(batch.edge_label, predicted, user, item, **self.loss_weights)
        values = torch.stack(list(terms.values())).detach()
        self._terms.append((tuple(terms), values, len(predicted)))
        return terms['loss']

    def on_train_batch_end(self, *args: Any) -> None:
        # Averaged here, once an epoch: the engine's `log` in every step costs
        # more than the optimizer does.
        if not self.trainer.is_last_batch:
            return
        names, values, sizes = zip(*self._terms, strict=True)
        size = torch.tensor(sizes, dtype=torch.double)
        values = torch.stack(values).cpu().double() * size[:, None]
        # On the module's own device, where processes can share it.
        mean = (values.sum(0) / size.sum()).float().to(self.device)
        self.log_dict(
            {f'train_{n}': v for n, v in zip(names[0], mean, strict=True)},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=1,
        )
        self._terms.clear()

    def validation_step(self, batch: RatingBatch, batch_idx: int) -> None:
        predicted = self.model(batch)
        if self.rating_range is not None:
            predicted = predicted.clamp(*self.rating_range)
        self.metrics.update(predicted, batch.edge_label)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metrics.compute(), prog_bar=True)
        self.metrics.reset()

    def configure_optimizers(self) -> dict[str, Any]:
        groups = {'free': [], 'matrix': [], 'vector': []}
        for name, parameter in self.model.named_parameters():
            kind = 'matrix' if parameter.dim() > 1 else 'vector'
            groups['free' if name.endswith('.free') else kind].append(parameter)
        optimizer = torch.optim.AdamW(
            [
                {'params': groups['free'], 'lr': self.free_lr, 'weight_decay': 0.0},
                {'params': groups['matrix'], 'weight_decay': self.weight_decay},
                {'params': groups['vector'], 'weight_decay': 0.0},
            ],
            lr=self.lr,
            fused=True,
        )
        steps = self.schedule_steps
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
        )
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }


class EpochLoaders(pl.LightningDataModule):
    """Hands loaders to the engine, set to the epoch that is about to run.

    The engine may start an iterator before any hook of an epoch runs, so the
    epoch is set where it asks for the loader: every epoch anew.
    """

    def __init__(self, train: RatingLoader, validation: RatingLoader | None) -> None:
        super().__init__()
        self.train, self.validation = train, validation

    def train_dataloader(self) -> RatingLoader:
        self.train.set_epoch(self.trainer.current_epoch)
        return self.train

    def val_dataloader(self) -> RatingLoader | None:
        return self.validation

    def transfer_batch_to_device(
        self, batch: RatingBatch, device: torch.device, dataloader_idx: int
    ) -> RatingBatch:
        return batch.to(device)


class MovingAverage(WeightAveraging):
    """An exponential moving average of the weights.

    Args:
        decay (float): Share of the average that a step keeps. The update is
            made every fourth step, with the fourth power: at small batches it
            would otherwise cost as much as the optimizer.
    """

    EVERY = 4

    def __init__(self, decay: float) -> None:
        average = get_ema_multi_avg_fn(decay**self.EVERY)
        super().__init__(use_buffers=False, multi_avg_fn=average)

    def should_update(
        self, step_idx: int | None = None, epoch_idx: int | None = None
    ) -> bool:
        return step_idx is not None and step_idx % self.EVERY == 0


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


@dataclass
class FitResult:
    """What :func:`fit` returns.

    Attributes:
        best_epoch: Epoch of the lowest validation RMSE, from 0; the last one
            if there was no validation.
        history: Metrics of every epoch.
        stopped_early: True if validation did not improve any more.
    """

    best_epoch: int
    history: list[dict[str, float]] = field(default_factory=list)
    stopped_early: bool = False


def fit(
    module: RatingModule,
    train: RatingLoader,
    validation: RatingLoader | None = None,
    *,
    epochs: int = 6,
    stop_after: int | None = None,
    patience: int | None = None,
    ema_decay: float | None = 0.99,
    gradient_clip: float | None = None,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    progress: bool = False,
    **trainer_options: Any,
) -> FitResult:
    r"""Trains a module in place and leaves the best weights in it.

    Args:
        module (RatingModule): What to train.
        train (RatingLoader): Training batches.
        validation (RatingLoader, optional): Batches to select the epoch on, by
            RMSE. Without, the weights of the last epoch stay.
        epochs (int, optional): Epochs of the learning-rate schedule.
            (default: :obj:`6`)
        stop_after (int, optional): Epochs to run, if fewer: to repeat a
            schedule up to an epoch that was selected before.
        patience (int, optional): Stop early after so many epochs without a
            better validation RMSE.
        ema_decay (float, optional): Decay of the moving average of the weights
            that is validated and kept; :obj:`None` switches it off.
            (default: :obj:`0.99`)
        gradient_clip (float, optional): Largest norm of the gradient.
        folder (path, optional): Where checkpoints and logs (TensorBoard and
            CSV) go. Without, nothing is written except a temporary checkpoint.
        resume (bool, optional): Continue from the last checkpoint in
            :obj:`folder`, if there is one. (default: :obj:`False`)
        progress (bool, optional): Show a progress bar. (default: :obj:`False`)
        **trainer_options (optional): Additional arguments of Lightning's
            ``Trainer``, such as :obj:`accelerator`, :obj:`devices`,
            :obj:`precision` or further :obj:`callbacks`.

    Raises:
        ValueError: If there is nothing to train, or :obj:`resume` lacks a
            :obj:`folder`.
    """
    _check(epochs, stop_after, patience, train, validation, folder, resume)
    module.schedule_steps = epochs * len(train)
    with _quiet(), _run_folder(folder) as path:
        history = History(None if folder is None else path / 'logs' / 'metrics.csv')
        logger = folder is not None and TensorBoardLogger(path, name='', version='logs')
        options = {'accelerator': 'cpu', 'devices': 1, 'logger': logger}
        options.update(trainer_options)
        callbacks: list[pl.Callback] = [history]
        if validation is not None:
            # Ahead of `last`, whose checkpoint so knows of the best one.
            best = _checkpoint(path, 'best', monitor='val_rmse')
            callbacks.append(best)
        callbacks.append(_checkpoint(path, 'last'))
        if ema_decay is not None:
            callbacks.append(MovingAverage(ema_decay))
        if patience is not None:
            callbacks.append(EarlyStopping('val_rmse', patience=patience))
        if progress:
            callbacks.append(TQDMProgressBar(refresh_rate=20))
        trainer = pl.Trainer(
            max_epochs=stop_after or epochs,
            callbacks=callbacks + list(options.pop('callbacks', None) or []),
            enable_progress_bar=progress,
            enable_model_summary=False,
            gradient_clip_val=gradient_clip,
            num_sanity_val_steps=0,
            limit_val_batches=0 if validation is None else 1.0,
            reload_dataloaders_every_n_epochs=1,
            log_every_n_steps=len(train),
            **options,
        )
        last = path / 'checkpoints' / 'last.ckpt'
        trainer.fit(
            module,
            datamodule=EpochLoaders(train, validation),
            ckpt_path=last if resume and last.exists() else None,
            weights_only=True,
        )
        if validation is None:
            return FitResult(len(history.epochs) - 1, history.epochs)
        state = torch.load(best.best_model_path, weights_only=True)
        module.load_state_dict(state['state_dict'])
    ran = len(history.epochs)
    return FitResult(state['epoch'], history.epochs, ran < (stop_after or epochs))


def _checkpoint(path: Path, name: str, monitor: str | None = None) -> ModelCheckpoint:
    return ModelCheckpoint(
        path / 'checkpoints',
        filename=name,
        monitor=monitor,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


@contextmanager
def _run_folder(folder: str | os.PathLike | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with TemporaryDirectory() as scratch:
        yield Path(scratch)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the engine's tips, which are not for users of a library."""
    logger = logging.getLogger('pytorch_lightning')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', category=PossibleUserWarning)
            # The engine's own use of what its dependencies deprecate.
            warnings.filterwarnings('ignore', '.*LeafSpec.*')
            warnings.filterwarnings('ignore', '.*exists and is not empty.*')
            yield
    finally:
        logger.setLevel(level)


def _check(
    epochs: int,
    stop_after: int | None,
    patience: int | None,
    train: RatingLoader,
    validation: RatingLoader | None,
    folder: str | os.PathLike | None,
    resume: bool,
) -> None:
    for name, value in (
        ('epochs', epochs),
        ('stop_after', stop_after),
        ('patience', patience),
    ):
        if value is not None and value < 1:
            raise ValueError(f"'{name}' must be at least 1 (got {value})")
    if stop_after is not None and stop_after > epochs:
        raise ValueError(
            f"'stop_after' must not exceed 'epochs' ({epochs}, got {stop_after})"
        )
    for name, loader in (('train', train), ('validation', validation)):
        if loader is not None and loader.rating is None:
            raise ValueError(f"'{name}' has no ratings; give its loader 'rating'")
    if patience is not None and validation is None:
        raise ValueError("'patience' needs 'validation' to watch")
    if resume and folder is None:
        raise ValueError("'resume' needs the 'folder' that holds the checkpoints")
