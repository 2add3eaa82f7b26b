"""Training loop for a Lightning module: validation, weight averaging, exact resume.

Code for predictions must not import this file, because it imports Lightning.
"""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Le
from pytorch_lightning import LightningModule as Module
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.warnings import PossibleUserWarning
from torch import Tensor
from torch.utils.data import DataLoader

from agnn_pyg.base.callbacks import (
    EMA,
    AtomicIO,
    Checkpoint,
    EpochSeed,
    FiniteWeights,
    History,
    Stopping,
    diverged,
    epoch_seed,
)
from agnn_pyg.base.config import PositiveInt, check_argument
from agnn_pyg.base.randomness import own_random_numbers, set_epoch
from agnn_pyg.base.store import make_folder

# Default options of Lightning's ``Trainer``.
DEFAULTS = {
    'accelerator': 'cpu',
    'devices': 1,
    'logger': False,
    # Processes share training batches; each validates on all batches.
    'use_distributed_sampler': False,
    'enable_model_summary': False,
    'num_sanity_val_steps': 0,
}


class FitResult(NamedTuple):
    """The selected epoch, from 0, and the metrics of each epoch."""

    best_epoch: int
    history: list[dict[str, float]]


@own_random_numbers()
def fit(
    module: Module,
    train: Iterable,
    validation: Iterable | None = None,
    *,
    epochs: int,
    stop_after: int | None = None,
    patience: int | None = None,
    monitor: str = 'val_rmse',
    ema_decay: float | None = None,
    gradient_clip: float | None = None,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    fingerprint: str | None = None,
    progress: bool = False,
    **trainer_options: Any,
) -> FitResult:
    r"""Trains a module in place; it has the best weights afterwards.

    A loader may define :obj:`set_epoch(epoch)`, called before each epoch, and
    :obj:`shard(rank, world_size)`. The order of other loaders, such as PyG's, and the
    noise of the module depend on the epoch and on :obj:`module.seed`, if it exists. A
    module may define :obj:`before_fit(train, validation)`, called with the loaders.
    :obj:`module.schedule_steps` is set to the optimizer steps of all :obj:`epochs`.

    Args:
        module (LightningModule): The module to train.
        train (iterable): Training batches; must have a length.
        validation (iterable, optional): Validation batches that select the epoch. If
            None, the weights of the last epoch are used.
        epochs (int): Number of epochs of the learning-rate schedule.
        stop_after (int, optional): Number of epochs to run, if fewer.
        patience (int, optional): Epochs without improvement before early stopping.
        monitor (str, optional): The metric that selects the epoch: lower is better for
            losses and errors, higher for all others. (default: :obj:`"val_rmse"`)
        ema_decay (float, optional): Decay of an exponential moving average of the
            weights, which is validated and used instead of the weights.
        gradient_clip (float, optional): Maximum norm of the gradient.
        folder (path, optional): Folder of checkpoints and logs. If None, only a
            temporary checkpoint is written.
        resume (bool, optional): Resume from the last checkpoint in :obj:`folder`, if
            any; the result equals an uninterrupted run. Module, loaders and options
            must be the same, except for :obj:`stop_after`. (default: :obj:`False`)
        fingerprint (str, optional): A hash of data and settings, saved in checkpoints.
            A run resumes only from a checkpoint with the same hash. If None, there is
            no check.
        progress (bool, optional): Show a progress bar. (default: :obj:`False`)
        **trainer_options (optional): Arguments of Lightning's ``Trainer``. Several
            processes (:obj:`devices=2, strategy="ddp"`) share the batches.

    Raises:
        ValueError: If arguments are inconsistent, the folder is not writable, there are
            fewer batches than processes, or training diverges.
    """
    if not isinstance(module, Module):
        raise ValueError(
            f"'module' must be a LightningModule (got {type(module).__name__}); wrap a "
            f'model, such as in a RatingModule'
        )
    check_argument('epochs', epochs, PositiveInt)
    check_argument('stop_after', stop_after, Annotated[int, Ge(1), Le(epochs)] | None)
    check_argument('patience', patience, PositiveInt | None)
    if patience is not None and validation is None:
        raise ValueError(
            f"'patience' needs 'validation' (got {patience} and None); pass both"
        )
    if check_argument('resume', resume, bool) and folder is None:
        raise ValueError("'resume' needs the 'folder' that holds the checkpoints")
    if folder is not None:
        make_folder(folder)
    if hasattr(module, 'before_fit'):
        module.before_fit(train, validation)
    if isinstance(validation, Sequence):  # Lightning takes a list for several loaders
        validation = DataLoader(validation, batch_size=None, collate_fn=_as_it_is)
    run_folder = TemporaryDirectory() if folder is None else nullcontext(folder)
    accelerator = trainer_options.get('accelerator', DEFAULTS['accelerator'])
    with _within_a_library(accelerator), run_folder as path:
        saved = Path(path) / 'checkpoints'
        history = History(fingerprint)
        is_error = re.search('loss|mse|mae', monitor)
        watched = {'monitor': monitor, 'mode': 'min' if is_error else 'max'}
        best = Checkpoint(saved, 'best', **watched)
        callbacks = [EpochSeed(), FiniteWeights(monitor), history]
        # Before `last`, so that its checkpoint includes the best score.
        if validation is not None:
            callbacks.append(best)
        if folder is not None:
            callbacks.append(Checkpoint(saved, 'last'))
            logger = TensorBoardLogger(path, name='', version='logs')
            trainer_options = {'logger': logger} | trainer_options
        if ema_decay is not None:
            callbacks.append(EMA(ema_decay))
        if patience is not None:
            callbacks.append(Stopping(patience=patience, **watched))
        if progress:
            callbacks.append(TQDMProgressBar(refresh_rate=20))
        callbacks += trainer_options.pop('callbacks', None) or []
        trainer = pl.Trainer(
            callbacks=callbacks,
            enable_checkpointing=validation is not None or folder is not None,
            enable_progress_bar=progress,
            gradient_clip_val=gradient_clip,
            limit_val_batches=0 if validation is None else 1.0,
            max_epochs=stop_after or epochs,
            **DEFAULTS | {'plugins': [AtomicIO()]} | trainer_options,
        )
        batches = EpochBatches(train, trainer, module)
        module.schedule_steps = epochs * batches.num_steps
        last = saved / 'last.ckpt'
        last = last if resume and last.exists() else None
        if last is not None and fingerprint is not None:
            kept = torch.load(last, map_location='cpu', weights_only=True)['callbacks']
            kept = kept.get(history.state_key, {})
            if kept.get('fingerprint') != fingerprint:
                raise ValueError(
                    f"The checkpoint in '{folder}' belongs to other tables or settings "
                    f"and cannot be resumed; pass another or an empty 'folder', or "
                    f"leave out 'resume'"
                )
        trainer.fit(module, batches, validation, ckpt_path=last, weights_only=True)
        if validation is None and last is None:
            return FitResult(len(history.epochs) - 1, history.epochs)
        # `dirpath` is the folder of the first process; other processes may have their
        # own temporary folder. If a resumed run was already complete, the module has
        # the weights before averaging, so they are loaded from the checkpoint, too.
        kept = last if validation is None else Path(best.dirpath) / 'best.ckpt'
        # The device of the checkpoint may not exist in a resumed run.
        state = torch.load(kept, map_location='cpu', weights_only=True)
        module.load_state_dict(state['state_dict'])
        trainer.strategy.barrier()  # no process may delete the file before others read
    return FitResult(state['epoch'], history.epochs)


def _as_it_is(batch: Any) -> Any:
    return batch


class LossModule(Module):
    """Logs epoch means of loss terms; faster than calling :obj:`log` in each step."""

    def __init__(self) -> None:
        super().__init__()
        self._terms = []

    def note(self, terms: Mapping[str, Tensor], weight: int) -> Tensor:
        """Records loss terms of a batch of :obj:`weight` examples; returns the loss."""
        self._names = [f'train_{name}' for name in terms]
        values = torch.stack([term.detach() for term in terms.values()])
        self._terms.append((values, weight))
        return terms['loss']

    def on_train_epoch_start(self) -> None:
        # Drop terms of an interrupted epoch.
        self._terms = []

    def on_train_batch_end(self, *args: Any) -> None:
        if self.trainer.is_last_batch:
            values, weight = zip(*self._terms, strict=True)
            values = torch.stack(values)
            weight = torch.tensor(weight).double()
            mean = weight @ values.cpu().double() / weight.sum()
            # The mean over processes needs values on their devices.
            mean = mean.float().to(values.device)
            self.log_epoch(dict(zip(self._names, mean, strict=True)))

    def log_epoch(self, metrics: Mapping[str, Tensor], **options: Any) -> None:
        """Logs metrics of an epoch, averaged over processes."""
        self.log_dict(
            metrics,
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=1,
            **options,
        )


class EpochBatches:
    """Wraps a training loader: sets its epoch and selects the batches of a process.

    Lightning creates the iterator before it knows the epoch of a resumed run, so the
    epoch is read at the first batch.
    """

    def __init__(self, loader: Any, trainer: pl.Trainer, module: Module) -> None:
        self.loader = loader
        self.trainer = trainer
        self.module = module

    @property
    def num_steps(self) -> int:
        """Optimizer steps per epoch; ``ValueError`` if there are none."""
        if not len(self):
            raise ValueError(
                f"'train' must have at least one batch per process (got fewer than "
                f'{self.trainer.world_size}); lower its batch_size'
            )
        return math.ceil(len(self) / self.trainer.accumulate_grad_batches)

    def __len__(self) -> int:
        # The rank is known only after the fit has started.
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
        # All processes draw the same order, and each takes its part.
        with own_random_numbers():
            torch.default_generator.manual_seed(epoch_seed(self.module, epoch))
            batches = iter(self.loader)
            batches = chain([*islice(batches, 1)], batches)
        yield from islice(batches, self.trainer.global_rank, stop, world_size)


@contextmanager
def _within_a_library(accelerator: Any) -> Iterator[None]:
    """Silences Lightning's hints and converts its errors to Python's."""
    logger = logging.getLogger('pytorch_lightning')
    level = logger.level
    handler = signal.getsignal(signal.SIGINT)
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', category=PossibleUserWarning)
        # LeafSpec: deprecated, but used by Lightning itself.
        warnings.filterwarnings('ignore', '.*(LeafSpec|exists and is not empty)')
        try:
            yield
        except MisconfigurationException as error:
            text = str(error)
            if 'backend' in text or 'accelerator' in text:
                text = (
                    f"'accelerator' must be available on this machine (got "
                    f"{accelerator!r}: {text}); set it to 'cpu' or 'auto'"
                )
            raise ValueError(text) from error
        except torch.linalg.LinAlgError as error:
            raise diverged(error) from error
        except SystemExit as error:  # Lightning raises it on Ctrl+C
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None
        finally:
            logger.setLevel(level)
