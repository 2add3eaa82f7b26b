"""What is profiled: the training of both models, as their benchmarks train them."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agnn_pyg.base.training import fit
from agnn_pyg.loss import agnn_loss
from benchmarks.agnn import smoke_config
from benchmarks.config import load_config
from benchmarks.experiment import build_training
from benchmarks.tanp_ablation import changed
from benchmarks.tanp_config import TaNPConfig
from benchmarks.tanp_experiment import build_training as build_tanp
from benchmarks.tanp_experiment import episodes_of
from data.lastfm import load_lastfm
from data.movielens import load_ml100k
from data.splits import split
from data.tastes import planted_tastes
from tanp.loss import tanp_loss

CONFIGS = Path(__file__).parent / 'configs'


@dataclasses.dataclass(frozen=True)
class Case:
    """A model in training.

    Attributes:
        name: What tables call it.
        batch_size: Pairs or tasks a step.
        loader: Batches of an epoch.
        loss: From a batch to what is minimised.
        optimizer: Of the model's parameters.
        epoch: Trains an epoch by the engine; returns its CPU seconds and steps.
    """

    name: str
    batch_size: int
    loader: Any
    loss: Callable[[Any], Tensor]
    optimizer: torch.optim.Optimizer
    epoch: Callable[[], tuple[float, int]]

    @property
    def parameters(self) -> Iterable[Tensor]:
        return [p for g in self.optimizer.param_groups for p in g['params']]


def agnn_case(batch_size: int, smoke: bool = False) -> Case:
    """AGNN on strictly cold films, without messages: they are not trained."""
    config = load_config(CONFIGS / 'agnn' / 'ml100k-item-cold.toml')
    if smoke:
        config, tables = smoke_config(config)
    else:
        tables = load_ml100k()
    train = dataclasses.replace(config.train, batch_size=batch_size)
    config = dataclasses.replace(config, train=train)
    parts = split(tables, config.data.mode, test=config.data.test, seed=0)

    def build() -> tuple[Any, Any]:
        return build_training(config, tables, parts.train, seed=0)[:2]

    module, loader = build()

    def loss(batch: Any) -> Tensor:
        user, item = module.model.encode(batch)
        predicted = module.model.decode(user, item, batch.edge_label_index)
        weights = module.loss_weights
        return agnn_loss(batch.edge_label, predicted, user, item, **weights)['loss']

    optimizer = module.configure_optimizers()['optimizer']
    epoch = functools.partial(_epoch, build, train.ema_decay, 4)
    return Case('AGNN', batch_size, loader, loss, optimizer, epoch)


def tanp_case(name: str, stem: str, smoke: bool = False) -> Case:
    """TaNP on Last.FM."""
    config = load_config(CONFIGS / 'tanp' / f'{stem}.toml', TaNPConfig)
    tables = planted_tastes() if smoke else load_lastfm()
    if smoke:
        small = {
            'data': {'support_size': 5, 'min_size': 15},
            'train': {'context_sizes': (1, 5)},
        }
        config = changed(config, small)
    parts = episodes_of(config, tables, seed=2020)

    def build() -> tuple[Any, Any]:
        return build_tanp(config, tables, parts, seed=0)

    module, loader = build()

    def loss(batch: Any) -> Tensor:
        output = module.model(batch)
        likelihood = module.model.likelihood
        return tanp_loss(output, likelihood, **module.loss_options)['loss']

    epoch = functools.partial(_epoch, build, config.train.ema_decay, 1)
    return Case(
        name,
        config.train.batch_size,
        loader,
        loss,
        module.configure_optimizers(),
        epoch,
    )


def _epoch(
    build: Callable[[], tuple[Any, Any]], ema_decay: float | None, ema_every: int
) -> tuple[float, int]:
    """CPU seconds of an epoch, the median of three: the first two warm up."""
    from pytorch_lightning import Callback

    seconds = []

    class Clock(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            self.start = time.process_time()

        def on_train_epoch_end(self, *_: Any) -> None:
            seconds.append(time.process_time() - self.start)

    module, loader = build()
    options = {'ema_decay': ema_decay, 'ema_every': ema_every}
    fit(module, loader, epochs=5, callbacks=[Clock()], **options)
    return statistics.median(seconds[2:]), len(loader)


CASES = (
    functools.partial(agnn_case, 128),
    functools.partial(agnn_case, 1024),
    functools.partial(agnn_case, 2048),
    functools.partial(tanp_case, 'TaNP', 'lastfm'),
    functools.partial(tanp_case, 'TaNP as published', 'lastfm-as-published'),
)


def smoke_cases() -> tuple[Callable[[], Case], ...]:
    """Seconds instead of minutes, to see that all runs."""
    return (
        functools.partial(agnn_case, 64, smoke=True),
        functools.partial(tanp_case, 'TaNP', 'lastfm', smoke=True),
    )
