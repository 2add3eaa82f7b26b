"""Trains any Lightning module on any loader: validation, averaging, exact resume.

Nothing that serves predictions imports this file, which imports Lightning.
"""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Le
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.warnings import PossibleUserWarning

from agnn_pyg.base.callbacks import (
    EMA,
    AtomicCheckpoints,
    EpochSeed,
    FiniteWeights,
    History,
    MovableCheckpoint,
    ResumableStopping,
    epoch_seed,
)
from agnn_pyg.base.config import PositiveInt, check_argument
from agnn_pyg.base.randomness import set_epoch

# Names of metrics, without prefix and cut-off, of which less is better.
LOWER = ('loss', 'mse', 'rmse', 'mae')


class FitResult(NamedTuple):
    """The epoch that was kept, from 0, and the metrics of every epoch."""

    best_epoch: int
    history: list[dict[str, float]]


def fit(
    module: pl.LightningModule,
    train: Iterable,
    validation: Iterable | None = None,
    *,
    epochs: int,
    stop_after: int | None = None,
    patience: int | None = None,
    monitor: str = 'val_rmse',
    ema_decay: float | None = None,
    ema_every: int = 1,
    gradient_clip: float | None = None,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    progress: bool = False,
    **trainer_options: Any,
) -> FitResult:
    r"""Trains a module in place and leaves the best weights in it.

    A loader may have :obj:`set_epoch(epoch)`, called before each epoch, and
    :obj:`shard(rank, world_size)`. The order of loaders without, such as PyG's, and the
    noise of the module depend on :obj:`module.seed`, if there is one, and the epoch. A
    module may have :obj:`before_fit(train, validation)`, called with the loaders, and
    finds the optimizer steps of all :obj:`epochs` in :obj:`module.schedule_steps`.

    Args:
        module (LightningModule): The module to train.
        train (iterable): Training batches, a loader with a length.
        validation (iterable, optional): Batches to score every epoch, and to select one
            by. Without, the weights of the last epoch stay.
        epochs (int): Epochs of the learning-rate schedule.
        stop_after (int, optional): Epochs to run, if fewer: to repeat a schedule up to
            an epoch that was selected before.
        patience (int, optional): Stop early after so many epochs without a better
            monitored value.
        monitor (str, optional): The metric to select by; less is better for losses and
            errors, more for all others. (default: :obj:`"val_rmse"`)
        ema_decay (float, optional): Decay of an exponential moving average of the
            weights, which is validated and kept instead of the weights.
        ema_every (int, optional): Steps between two updates of it. (default: :obj:`1`)
        gradient_clip (float, optional): Largest norm of the gradient.
        folder (path, optional): Where checkpoints and logs (TensorBoard and CSV) go.
            Without, nothing is written except a temporary checkpoint.
        resume (bool, optional): Continue from the last checkpoint in :obj:`folder`, if
            there is one, to the same result as without the interruption.
            (default: :obj:`False`)
        progress (bool, optional): Show a progress bar. (default: :obj:`False`)
        **trainer_options (optional): Additional arguments of Lightning's ``Trainer``,
            such as :obj:`accelerator`, :obj:`devices` or :obj:`precision`. Of several
            processes (:obj:`devices=2, strategy="ddp"`) each takes its turn on the
            batches.

    Raises:
        ValueError: If arguments do not suit each other, there are fewer batches than
            processes, or training diverges.
    """
    check_argument('epochs', epochs, PositiveInt)
    check_argument('stop_after', stop_after, Annotated[int, Ge(1), Le(epochs)] | None)
    check_argument('patience', patience, PositiveInt | None)
    if patience is not None and validation is None:
        raise ValueError(
            f"'patience' needs 'validation' (got {patience} and None); pass both"
        )
    if resume and folder is None:
        raise ValueError("'resume' needs the 'folder' that holds the checkpoints")
    if hasattr(module, 'before_fit'):
        module.before_fit(train, validation)
    name = monitor.removeprefix('val_').removeprefix('train_').partition('@')[0]
    mode = 'min' if name in LOWER else 'max'
    run_folder = TemporaryDirectory() if folder is None else nullcontext(folder)
    with _quiet(), run_folder as path:
        saved, logs = Path(path) / 'checkpoints', Path(path) / 'logs'
        history = History(None if folder is None else logs / 'metrics.csv')
        callbacks = [EpochSeed(), FiniteWeights(monitor), history]
        if validation is not None:
            # Ahead of `last`, whose checkpoint then knows of the best one.
            best = MovableCheckpoint(saved, 'best', monitor=monitor, mode=mode)
            callbacks.append(best)
        if folder is not None:
            callbacks.append(MovableCheckpoint(saved, 'last'))
        if ema_decay is not None:
            callbacks.append(EMA(ema_decay, ema_every))
        if patience is not None:
            callbacks.append(ResumableStopping(monitor, patience=patience, mode=mode))
        if progress:
            callbacks.append(TQDMProgressBar(refresh_rate=20))
        callbacks += trainer_options.pop('callbacks', None) or []
        options = {
            'accelerator': 'cpu',
            'devices': 1,
            'logger': folder is not None
            and TensorBoardLogger(path, name='', version='logs'),
            'plugins': [AtomicCheckpoints()],
            # Training batches take turns; each process validates all.
            'use_distributed_sampler': False,
            'enable_checkpointing': validation is not None or folder is not None,
            'enable_progress_bar': progress,
            'enable_model_summary': False,
            'gradient_clip_val': gradient_clip,
            'num_sanity_val_steps': 0,
            'limit_val_batches': 0 if validation is None else 1.0,
            'max_epochs': stop_after or epochs,
        }
        trainer = pl.Trainer(callbacks=callbacks, **options | trainer_options)
        batches = EpochBatches(train, trainer, module)
        if not len(batches):
            raise ValueError(
                f"'train' must have a batch for each of {trainer.world_size} processes "
                f'(got fewer); lower its batch_size'
            )
        steps = -(-len(batches) // trainer.accumulate_grad_batches)
        module.schedule_steps = epochs * steps
        last = saved / 'last.ckpt'
        last = last if resume and last.exists() else None
        with _interruptible():
            trainer.fit(module, batches, validation, ckpt_path=last, weights_only=True)
        if validation is None:
            return FitResult(len(history.epochs) - 1, history.epochs)
        # The folder of the first process, also where each has a temporary one.
        state = torch.load(Path(best.dirpath) / 'best.ckpt', weights_only=True)
        module.load_state_dict(state['state_dict'])
        trainer.strategy.barrier()  # no process removes the file that others read
    return FitResult(state['epoch'], history.epochs)


class EpochBatches:
    """A training loader, set to the epoch that is about to run and to a process.

    Lightning makes an iterator before it knows the epoch of a resumed run. The body of
    this one runs with the first batch.
    """

    def __init__(
        self, loader: Any, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        self.loader, self.trainer, self.module = loader, trainer, module

    def __len__(self) -> int:
        # A process knows its rank only when the fit has begun.
        if hasattr(self.loader, 'shard'):
            self.loader.shard(self.trainer.global_rank, self.trainer.world_size)
            return len(self.loader)
        return len(self.loader) // self.trainer.world_size

    def __iter__(self) -> Iterator:
        epoch, world_size = self.trainer.current_epoch, self.trainer.world_size
        set_epoch(self.loader, epoch)
        stop = len(self) * world_size
        if hasattr(self.loader, 'shard'):
            yield from self.loader
            return
        # All processes draw the same order, of which each takes its batches.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(self.module, epoch))
            batches = iter(self.loader)
            first = list(islice(batches, 1))
        order = chain(first, batches)
        yield from islice(order, self.trainer.global_rank, stop, world_size)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Lightning's tips, which are not for users of a library."""
    logger = logging.getLogger('pytorch_lightning')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', category=PossibleUserWarning)
            # LeafSpec: Lightning's own use of what its dependencies deprecate.
            warnings.filterwarnings('ignore', '.*(LeafSpec|exists and is not empty)')
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl+C end a fit with ``KeyboardInterrupt``, as any other code.

    Lightning exits the process instead and ignores Ctrl+C from then on.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
