"""Training TaNP on PyTorch Lightning. The layers do not import this file."""

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
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.warnings import PossibleUserWarning

from tanp.engine import EachEpoch, History, MovingAverage, Patience, WholeCheckpoints
from tanp.inference import check_episodes
from tanp.loader import EpisodeLoader
from tanp.task_module import TaskModule

__all__ = ['FitResult', 'TaskModule', 'fit']

# Metrics that are better when lower; all others are better when higher.
LOWER = ('loss', 'mse', 'mae')


@dataclass
class FitResult:
    """What :func:`fit` returns.

    Attributes:
        best_epoch: Epoch of the best monitored value, from 0; the last one if
            there was no validation.
        history: Metrics of every epoch.
        stopped_early: True if validation did not improve any more.
    """

    best_epoch: int
    history: list[dict[str, float]] = field(default_factory=list)
    stopped_early: bool = False


def fit(
    module: TaskModule,
    train: EpisodeLoader,
    validation: EpisodeLoader | None = None,
    *,
    epochs: int = 150,
    patience: int | None = None,
    monitor: str = 'val_loss',
    ema_decay: float | None = None,
    gradient_clip: float | None = None,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    progress: bool = False,
    **trainer_options: Any,
) -> FitResult:
    r"""Trains a module in place and leaves the best weights in it.

    Args:
        module (TaskModule): What to train.
        train (EpisodeLoader): Training batches.
        validation (EpisodeLoader, optional): Batches to score every epoch, and
            to select one on. Without, the weights of the last epoch stay.
        epochs (int, optional): Epochs to run. (default: :obj:`150`)
        patience (int, optional): Stop early after so many epochs without a
            better monitored value.
        monitor (str, optional): The validation metric to select by.
            (default: :obj:`"val_loss"`)
        ema_decay (float, optional): Decay of the moving average of the weights
            that is validated and kept; :obj:`None` switches it off.
            (default: :obj:`None`)
        gradient_clip (float, optional): Largest norm of the gradient.
        folder (path, optional): Where checkpoints and logs (TensorBoard and
            CSV) go. Without, nothing is written except a temporary checkpoint.
        resume (bool, optional): Continue from the last checkpoint in
            :obj:`folder`, if there is one. A run that broke off goes on as if it had
            not, given the same :obj:`epochs`, by which averages are made.
            (default: :obj:`False`)
        progress (bool, optional): Show a progress bar. (default: :obj:`False`)
        **trainer_options (optional): Additional arguments of Lightning's
            ``Trainer``, such as :obj:`accelerator`, :obj:`devices`,
            :obj:`precision` or further :obj:`callbacks`. With several processes
            (:obj:`devices=2, strategy="ddp"`) batches take turns: a step is
            taken on one batch of each.

    Raises:
        ValueError: If labels or items do not suit the model, arguments do not
            suit each other, or there are fewer batches than processes.
    """
    _check(epochs, patience, validation, folder, resume)
    for loader in (train, validation):
        if loader is not None:
            check_episodes(module.model, loader.episodes)
    module.model.know(train.episodes.user, train.episodes.item)
    with _quiet(), _run_folder(folder) as path:
        history = History(None if folder is None else path / 'logs' / 'metrics.csv')
        logger = folder is not None and TensorBoardLogger(path, name='', version='logs')
        options = {'accelerator': 'cpu', 'devices': 1, 'logger': logger}
        # Training batches are shared out by the loader; all are validated by each.
        options['use_distributed_sampler'] = False
        options.update(trainer_options)
        options.setdefault('plugins', [WholeCheckpoints()])
        mode = 'min' if monitor.removeprefix('val_') in LOWER else 'max'
        callbacks: list[pl.Callback] = [history]
        if validation is not None:
            # Ahead of `last`, whose checkpoint so knows of the best one.
            best = _checkpoint(path, 'best', monitor=monitor, mode=mode)
            callbacks.append(best)
        if folder is not None:
            callbacks.append(_checkpoint(path, 'last'))
        if ema_decay is not None:
            callbacks.append(MovingAverage(ema_decay))
        if patience is not None:
            callbacks.append(Patience(monitor, patience=patience, mode=mode))
        if progress:
            callbacks.append(TQDMProgressBar(refresh_rate=20))
        trainer = pl.Trainer(
            max_epochs=epochs,
            callbacks=callbacks + list(options.pop('callbacks', None) or []),
            enable_progress_bar=progress,
            enable_model_summary=False,
            enable_checkpointing=validation is not None or folder is not None,
            gradient_clip_val=gradient_clip,
            num_sanity_val_steps=0,
            limit_val_batches=0 if validation is None else 1.0,
            log_every_n_steps=len(train),
            **options,
        )
        batches = EachEpoch(train, trainer)
        if not len(batches):
            raise ValueError(
                f"'train' has fewer batches than there are processes "
                f'({trainer.world_size}); give it a smaller batch_size'
            )
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
    return FitResult(state['epoch'], history.epochs, len(history.epochs) < epochs)


def _checkpoint(path: Path, name: str, **options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(
        path / 'checkpoints',
        filename=name,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
        **options,
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
    patience: int | None,
    validation: EpisodeLoader | None,
    folder: str | os.PathLike | None,
    resume: bool,
) -> None:
    for name, value in (('epochs', epochs), ('patience', patience)):
        if value is not None and value < 1:
            raise ValueError(f"'{name}' must be at least 1 (got {value})")
    if patience is not None and validation is None:
        raise ValueError("'patience' needs 'validation' to watch")
    if resume and folder is None:
        raise ValueError("'resume' needs the 'folder' that holds the checkpoints")
