"""Training AGNN on PyTorch Lightning. The layers do not import this file."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    ModelCheckpoint,
    TQDMProgressBar,
)
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.warnings import PossibleUserWarning

from agnn_pyg.base.callbacks import (
    EachEpoch,
    History,
    MovingAverage,
    Patience,
    WholeCheckpoints,
)
from agnn_pyg.rating_module import RatingModule
from agnn_pyg.sampling.loader import RatingLoader

__all__ = ['FitResult', 'RatingModule', 'fit']


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
            :obj:`precision` or further :obj:`callbacks`. With several processes
            (:obj:`devices=2, strategy="ddp"`) batches take turns: a step is
            taken on one batch of each.

    Raises:
        ValueError: If there is nothing to train, there are fewer batches than
            processes, or :obj:`resume` lacks a :obj:`folder`.
    """
    _check(epochs, stop_after, patience, train, validation, folder, resume)
    with _quiet(), _run_folder(folder) as path:
        history = History(None if folder is None else path / 'logs' / 'metrics.csv')
        logger = folder is not None and TensorBoardLogger(path, name='', version='logs')
        options = {'accelerator': 'cpu', 'devices': 1, 'logger': logger}
        # Training batches are shared out by the loader; all are validated by each.
        options['use_distributed_sampler'] = False
        options.update(trainer_options)
        options.setdefault('plugins', [WholeCheckpoints()])
        callbacks: list[pl.Callback] = [history]
        if validation is not None:
            # Ahead of `last`, whose checkpoint so knows of the best one.
            best = _checkpoint(path, 'best', monitor='val_rmse')
            callbacks.append(best)
        callbacks.append(_checkpoint(path, 'last'))
        if ema_decay is not None:
            callbacks.append(MovingAverage(ema_decay))
        if patience is not None:
            callbacks.append(Patience('val_rmse', patience=patience))
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
            log_every_n_steps=len(train),
            **options,
        )
        batches = EachEpoch(train, trainer)
        steps = -(-len(batches) // trainer.accumulate_grad_batches)
        if not steps:
            raise ValueError(
                f"'train' has fewer batches than there are processes "
                f'({trainer.world_size}); give it a smaller batch_size'
            )
        module.schedule_steps = epochs * steps
        last = path / 'checkpoints' / 'last.ckpt'
        trainer.fit(
            module,
            batches,
            validation,
            ckpt_path=last if resume and last.exists() else None,
            weights_only=True,
        )
        if validation is None:
            return FitResult(len(history.epochs) - 1, history.epochs)
        state = torch.load(best.best_model_path, weights_only=True)
        module.load_state_dict(state['state_dict'])
        trainer.strategy.barrier()  # nobody removes the file that others read
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
