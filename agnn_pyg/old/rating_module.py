"""What AGNN is trained on PyTorch Lightning with: loss, optimizer, metrics."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from agnn_pyg.base.callbacks import EpochMeans
from agnn_pyg.base.randomness import check_seed
from agnn_pyg.old.batch import RatingBatch
from agnn_pyg.old.lazy_adam import LazyAdamW
from agnn_pyg.old.loss import agnn_loss
from agnn_pyg.old.model import AGNN


class RatingModule(pl.LightningModule):
    r"""Trains :class:`~agnn_pyg.old.model.AGNN` on ratings.

    AdamW with a cosine schedule over all steps. Weight decay covers matrices
    only; the free parameters of nodes, which each see but a few ratings, learn
    faster and are held by their own term of the loss. A model with sparse gradients
    (:class:`~agnn_pyg.nn.NodeEncoder`) is trained by
    :class:`~agnn_pyg.old.lazy_adam.LazyAdamW`.

    Args:
        model (AGNN): The model to train.
        lr (float, optional): Learning rate. (default: :obj:`3e-3`)
        free_lr (float, optional): Learning rate of preferences and biases.
            (default: :obj:`3e-2`)
        weight_decay (float, optional): (default: :obj:`1e-2`)
        kl_weight (float, optional): See :func:`~agnn_pyg.old.loss.agnn_loss`, as
            the next two.
        reconstruction_weight (float, optional): (default: :obj:`0.1`)
        preference_weight (float, optional): (default: :obj:`0.01`)
        rating_range (tuple, optional): Predictions are clamped to it when they
            are scored. (default: :obj:`None`)
        seed (int, optional): Seed of dropout and latent noise, see
            :func:`~agnn_pyg.base.training.fit`. (default: :obj:`0`)
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
        self.seed = check_seed('seed', seed)
        self.schedule_steps = 1
        self._terms = EpochMeans()
        self.metrics = MetricCollection(
            {'rmse': MeanSquaredError(squared=False), 'mae': MeanAbsoluteError()},
            prefix='val_',
        )

    def forward(self, batch: RatingBatch) -> Tensor:
        return self.model(batch)

    def before_fit(self, train: Any, validation: Any) -> None:
        """See :func:`~agnn_pyg.base.training.fit`."""
        for name, loader in (('train', train), ('validation', validation)):
            if loader is not None and getattr(loader, 'rating', ()) is None:
                raise ValueError(f"'{name}' has no ratings; give its loader 'rating'")

    def transfer_batch_to_device(
        self, batch: RatingBatch, device: torch.device, dataloader_idx: int
    ) -> RatingBatch:
        return batch.to(device)

    def on_train_epoch_start(self) -> None:
        # What an epoch that broke off has left behind is not of this one.
        self._terms.clear()
        self.metrics.reset()

    def training_step(self, batch: RatingBatch, batch_idx: int) -> Tensor:
        user, item = self.model.encode(batch)
        predicted = self.model.decode(user, item, batch.edge_label_index)
        terms = agnn_loss(batch.edge_label, predicted, user, item, **self.loss_weights)
        self._terms.add(terms, len(predicted))
        return terms['loss']

    def on_train_batch_end(self, *args: Any) -> None:
        if self.trainer.is_last_batch:
            self.log_dict(
                self._terms.pop(),
                on_step=False,
                on_epoch=True,
                sync_dist=True,
                batch_size=1,
            )

    def validation_step(self, batch: RatingBatch, batch_idx: int) -> None:
        predicted = self.model(batch)
        if self.rating_range is not None:
            predicted = predicted.clamp(*self.rating_range)
        self.metrics.update(predicted, batch.edge_label)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metrics.compute(), prog_bar=True)
        self.metrics.reset()

    def optimizer_zero_grad(
        self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer
    ) -> None:
        # The optimizer's own way announces itself to the profiler first, which
        # takes longer.
        for group in optimizer.param_groups:
            for parameter in group['params']:
                parameter.grad = None

    def configure_optimizers(self) -> dict[str, Any]:
        groups = {'free': [], 'matrix': [], 'vector': []}
        for name, parameter in self.model.named_parameters():
            kind = 'matrix' if parameter.dim() > 1 else 'vector'
            groups['free' if name.endswith('.free') else kind].append(parameter)
        sparse = self.model.user.sparse or self.model.item.sparse
        optimizer = (LazyAdamW if sparse else torch.optim.AdamW)(
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
