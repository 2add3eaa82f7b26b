"""The Lightning module for training on episodes: loss, metrics and optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agnn_pyg.base.metrics import list_metrics
from agnn_pyg.base.training import LossModule
from tanp.config import LossConfig
from tanp.loader import EpisodeBatch, EpisodeLoader
from tanp.loss import LIKELIHOODS, tanp_loss
from tanp.model import NeuralProcess
from tanp.prediction import check_episodes


class TaskModule(LossModule):
    r"""A Lightning module for :func:`agnn_pyg.base.training.fit` on episodes.

    Each epoch logs means over tasks: the terms of the loss, and on validation the
    negative log-likelihood, or squared error of ratings, as :obj:`val_loss`, and the
    metrics of :func:`~agnn_pyg.base.metrics.list_metrics`.

    Labels above :obj:`relevant` are relevant. Metrics use the original labels, before
    :obj:`center` was subtracted and :obj:`unit` divided them. The seed controls dropout
    and noise; for :obj:`loss` see :class:`~tanp.config.LossConfig`.
    """

    def __init__(
        self,
        model: NeuralProcess,
        lr: float = 3e-3,
        weight_decay: float = 0.0,
        relevant: float = 0.5,
        center: float = 0.0,
        unit: float = 1.0,
        seed: int = 0,
        **loss: Any,
    ) -> None:
        super().__init__()
        self.model, self.loss = model, dict(LossConfig(**loss))
        self.lr, self.weight_decay, self.seed = lr, weight_decay, seed
        self.relevant, self.center, self.unit = relevant, center, unit

    def before_fit(self, train: EpisodeLoader, held_out: EpisodeLoader | None) -> None:
        """See :func:`~agnn_pyg.base.training.fit`."""
        for loader in (train, held_out) if held_out is not None else (train,):
            check_episodes(self.model, loader.episodes)
            shortest = int(loader.episodes.num_query.min())
        self.ks = [k for k in (5, 10) if k <= shortest]
        self.model.set_trained_ids(train.episodes.user, train.episodes.item)

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor:
        terms = tanp_loss(self.model(batch), self.model.likelihood, **self.loss)
        return self.note(terms, len(batch.user))

    def on_validation_epoch_start(self) -> None:
        self._validated = []

    def validation_step(self, batch: EpisodeBatch, batch_idx: int) -> None:
        output = self.model(batch)
        likelihood = LIKELIHOODS[self.model.likelihood]
        score, label, mask = output[:3]
        error = likelihood.error(score, label).masked_fill(~mask, 0)
        count = mask.sum(1)
        labels = (likelihood.predict(score), label, self.relevant)
        predicted, label, relevant = (self.unit * v + self.center for v in labels)
        metrics = list_metrics(predicted, label, mask, self.ks, relevant)
        self._validated.append({'loss': error.sum(1) / count} | metrics)

    def on_validation_epoch_end(self) -> None:
        for name in self._validated[0]:
            mean = torch.cat([part[name] for part in self._validated]).nanmean()
            self.log_epoch({f'val_{name}': mean}, prog_bar=name == 'loss')

    def configure_optimizers(self) -> torch.optim.Optimizer:
        options = {'lr': self.lr, 'weight_decay': self.weight_decay, 'fused': True}
        return torch.optim.AdamW(self.model.parameters(), **options)
