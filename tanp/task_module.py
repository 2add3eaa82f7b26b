"""What TaNP is trained on PyTorch Lightning with: loss, optimizer, metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from agnn_pyg.base.callbacks import EpochMeans
from agnn_pyg.base.metrics import list_metrics
from tanp.inference import check_episodes
from tanp.loader import EpisodeBatch, EpisodeLoader
from tanp.loss import LIKELIHOODS, tanp_loss
from tanp.model import TaNP

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    'sgd': torch.optim.SGD,
    'adagrad': torch.optim.Adagrad,
    'adadelta': torch.optim.Adadelta,
    'adam': torch.optim.Adam,
    'adamax': torch.optim.Adamax,
    'adamw': torch.optim.AdamW,
}
FUSED = ('sgd', 'adagrad', 'adam', 'adamw')


class TaskModule(pl.LightningModule):
    r"""Trains :class:`~tanp.model.TaNP` on episodes.

    Every epoch logs the terms of the loss, averaged over tasks, and the
    validation metrics: the mean negative log-likelihood (:obj:`val_loss`) and
    those of :func:`~agnn_pyg.base.metrics.list_metrics`, each a mean over tasks.

    Args:
        model (TaNP): The model to train.
        optimizer (str, optional): One of sgd, adagrad, adadelta, adam, adamax
            and adamw. (default: :obj:`"adamw"`)
        lr (float, optional): Learning rate. (default: :obj:`3e-3`)
        weight_decay (float, optional): (default: :obj:`0.0`)
        average (str, optional): See :func:`~tanp.loss.tanp_loss`, as the next
            four. (default: :obj:`"task"`)
        kl_weight (float, optional): (default: :obj:`1.0`)
        kl_per_point (bool, optional): (default: :obj:`True`)
        clustering_weight (float, optional): (default: :obj:`0.1`)
        uniform_clusters (bool, optional): (default: :obj:`False`)
        ks (iterable, optional): Cut-offs of the validation metrics.
            (default: :obj:`(5, 10)`)
        relevant (float, optional): Labels above it are relevant.
            (default: :obj:`0.5`)
        centre (float, optional): What was taken from all labels, and is added again
            before they are validated. (default: :obj:`0.0`)
        unit (float, optional): What they were divided by then, likewise.
            (default: :obj:`1.0`)
        seed (int, optional): Seeds each epoch anew, so that a resumed run
            repeats one that was left alone. (default: :obj:`0`)

    Raises:
        ValueError: If the optimizer is unknown or a rate not positive.
    """

    def __init__(
        self,
        model: TaNP,
        optimizer: str = 'adamw',
        lr: float = 3e-3,
        weight_decay: float = 0.0,
        average: str = 'task',
        kl_weight: float = 1.0,
        kl_per_point: bool = True,
        clustering_weight: float = 0.1,
        uniform_clusters: bool = False,
        ks: Iterable[int] = (5, 10),
        relevant: float = 0.5,
        centre: float = 0.0,
        unit: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if optimizer not in OPTIMIZERS:
            raise ValueError(
                f"'optimizer' must be one of {tuple(OPTIMIZERS)} (got {optimizer!r})"
            )
        if not lr > 0 or not weight_decay >= 0:
            raise ValueError(
                f"'lr' must be positive (got {lr}) and 'weight_decay' not negative "
                f'(got {weight_decay})'
            )
        self.model = model
        self.optimizer, self.lr, self.weight_decay = optimizer, lr, weight_decay
        self.loss_options = {
            'average': average,
            'kl_weight': kl_weight,
            'kl_per_point': kl_per_point,
            'clustering_weight': clustering_weight,
            'uniform_clusters': uniform_clusters,
        }
        self.ks, self.relevant = tuple(ks), relevant
        self.centre, self.unit = centre, unit
        self.seed = seed
        self._terms = EpochMeans()
        self._validated: list[dict[str, Tensor]] = []

    def forward(self, batch: EpisodeBatch) -> Tensor:
        return self.model(batch).score

    def before_fit(
        self, train: EpisodeLoader, validation: EpisodeLoader | None
    ) -> None:
        """See :func:`~agnn_pyg.base.training.fit`."""
        for loader in (train, validation):
            if loader is not None:
                check_episodes(self.model, loader.episodes)
        self.model.know(train.episodes.user, train.episodes.item)

    def transfer_batch_to_device(
        self, batch: EpisodeBatch, device: torch.device, dataloader_idx: int
    ) -> EpisodeBatch:
        return batch.to(device)

    def on_train_epoch_start(self) -> None:
        # Dropout and latent noise follow the epoch, not what was drawn before.
        # Each of several processes draws its own; zeros at the end change nothing.
        entropy = [self.seed, self.current_epoch, self.global_rank]
        words = np.random.SeedSequence(entropy)
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0]) >> 1)
        # What an epoch that broke off has left behind is not of this one.
        self._terms.clear()
        self._validated.clear()

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor:
        output = self.model(batch)
        terms = tanp_loss(output, self.model.likelihood, **self.loss_options)
        self._terms.add(terms, output.rows.num_tasks)
        return terms['loss']

    def on_train_batch_end(self, *args: Any) -> None:
        if self.trainer.is_last_batch:
            self._log(self._terms.pop())

    def validation_step(self, batch: EpisodeBatch, batch_idx: int) -> None:
        output = self.model(batch)
        negative_log_likelihood, predict, _ = LIKELIHOODS[self.model.likelihood]
        error = negative_log_likelihood(output.score, output.label, reduction='none')
        mask, count = batch.query_mask, batch.query_mask.sum(-1)
        metrics = {'loss': output.rows.pad(error).sum(-1) / count}
        predicted = output.rows.pad(predict(output.score))
        ks = [k for k in self.ks if k <= int(count.min())]
        metrics |= list_metrics(
            self._given(predicted),
            self._given(batch.query_label),
            mask,
            ks,
            self._given(self.relevant),
            published=True,
        )
        self._validated.append(metrics)

    def _given(self, label: float | Tensor) -> float | Tensor:
        """Labels as they were before they were centred and divided."""
        return self.unit * label + self.centre

    def on_validation_epoch_end(self) -> None:
        parts, self._validated = self._validated, []
        for name in parts[0]:
            tasks = torch.cat([part[name] for part in parts if name in part])
            self._log({f'val_{name}': tasks.nanmean()}, prog_bar=name == 'loss')

    def _log(self, metrics: dict[str, Tensor], **options: Any) -> None:
        self.log_dict(
            metrics,
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=1,
            **options,
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        options = {'fused': True} if self.optimizer in FUSED else {}
        if self.optimizer == 'adagrad':
            # Else the first steps are as large as can be.
            options['initial_accumulator_value'] = 0.1
        return OPTIMIZERS[self.optimizer](
            self.model.parameters(),
            lr=self.lr,
            weight_decay=self.weight_decay,
            **options,
        )
