"""Training of AGNN by PyTorch Lightning: loss, optimizer, metrics."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from agnn_pyg.base.callbacks import EpochMeans
from agnn_pyg.base.randomness import check_seed
from agnn_pyg.loss import agnn_loss
from agnn_pyg.model import AGNN
from agnn_pyg.optim import SparseAdamW
from agnn_pyg.sampling.batch import RatingBatch


class RatingModule(pl.LightningModule):
    r"""Trains :class:`~agnn_pyg.AGNN` on ratings.

    Batches are those of :class:`~agnn_pyg.RatingLoader` or of PyG's
    :class:`~torch_geometric.loader.LinkNeighborLoader`.

    AdamW with a cosine schedule over all steps. Weight decay covers matrices
    only; embeddings of nodes, which each see but a few ratings, learn
    faster and are penalised by their own term of the loss. A model with sparse
    gradients is trained by :class:`~agnn_pyg.optim.SparseAdamW`.

    Args:
        model (AGNN): The model to train.
        lr (float, optional): Learning rate. (default: :obj:`3e-3`)
        embedding_lr (float, optional): Learning rate of the learned preferences and
            biases of nodes. (default: :obj:`3e-2`)
        weight_decay (float, optional): (default: :obj:`1e-2`)
        kl_weight (float, optional): See :func:`~agnn_pyg.agnn_loss`, as
            the next three. (default: :obj:`0.01`)
        reconstruction_weight (float, optional): (default: :obj:`0.1`)
        embedding_l2 (float, optional): (default: :obj:`0.01`)
        published_loss (bool, optional): (default: :obj:`False`)
        published_optimizer (bool, optional): Adam with a constant learning rate, and
            decay inside of its gradient, of all parameters, as in the published
            code. (default: :obj:`False`)
        rating_range (tuple, optional): Validation clamps predictions to it.
            (default: :obj:`None`)
        seed (int, optional): Seed of dropout and latent noise, see
            :func:`~agnn_pyg.base.training.fit`. (default: :obj:`0`)
    """

    def __init__(
        self,
        model: AGNN,
        lr: float = 3e-3,
        embedding_lr: float = 3e-2,
        weight_decay: float = 1e-2,
        kl_weight: float = 0.01,
        reconstruction_weight: float = 0.1,
        embedding_l2: float = 0.01,
        published_loss: bool = False,
        published_optimizer: bool = False,
        rating_range: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.lr, self.embedding_lr, self.weight_decay = lr, embedding_lr, weight_decay
        self.loss_weights = {
            'kl_weight': kl_weight,
            'reconstruction_weight': reconstruction_weight,
            'embedding_l2': embedding_l2,
        }
        self.published_loss = published_loss
        self.published_optimizer = published_optimizer
        self.rating_range = rating_range
        self.seed = check_seed('seed', seed)
        # Steps of the whole schedule, which the training sets.
        self.schedule_steps = 1
        self._terms = EpochMeans()
        self.metrics = MetricCollection(
            {'rmse': MeanSquaredError(squared=False), 'mae': MeanAbsoluteError()},
            prefix='val_',
        )

    def forward(self, batch: RatingBatch | HeteroData) -> Tensor:
        return self.model(*RatingBatch.from_data(batch)[:-1])

    def before_fit(self, train: Any, validation: Any) -> None:
        """See :func:`~agnn_pyg.base.training.fit`."""
        for name, loader in (('train', train), ('validation', validation)):
            if loader is not None and getattr(loader, 'edge_label', ()) is None:
                raise ValueError(
                    f"'{name}' must have an 'edge_label', the ratings (got None)"
                )

    def transfer_batch_to_device(
        self, batch: RatingBatch | HeteroData, device: torch.device, dataloader_idx: int
    ) -> RatingBatch:
        return RatingBatch.from_data(batch).to(device)

    def on_train_epoch_start(self) -> None:
        # An interrupted epoch may have left terms behind.
        self._terms.clear()
        self.metrics.reset()

    def training_step(self, batch: RatingBatch, batch_idx: int) -> Tensor:
        x, edges, pairs, *nodes, label = RatingBatch.from_data(batch)
        states = self.model.encode(x, edges, *nodes)
        predicted = self.model.decode(states, pairs)
        ends = [states[end] for end in self.model.ends]
        published = pairs if self.published_loss else None
        terms = agnn_loss(
            label, predicted, ends, published=published, **self.loss_weights
        )
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
        batch = RatingBatch.from_data(batch)
        predicted = self(batch)
        if self.rating_range is not None:
            predicted = predicted.clamp(*self.rating_range)
        self.metrics.update(predicted, batch.edge_label)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metrics.compute(), prog_bar=True)
        self.metrics.reset()

    def optimizer_zero_grad(
        self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer
    ) -> None:
        # `Optimizer.zero_grad` enters the profiler first, which takes longer.
        for group in optimizer.param_groups:
            for parameter in group['params']:
                parameter.grad = None

    def configure_optimizers(self) -> Any:
        groups = {'embedding': [], 'matrix': [], 'vector': []}
        for name, parameter in self.model.named_parameters():
            kind = 'matrix' if parameter.dim() > 1 else 'vector'
            kind = 'embedding' if name.endswith('.embedding') else kind
            groups[kind].append(parameter)
        embedding = {'params': groups['embedding'], 'lr': self.embedding_lr}
        matrix, vector = ({'params': groups[kind]} for kind in ('matrix', 'vector'))
        options = {'lr': self.lr, 'weight_decay': self.weight_decay}
        if self.published_optimizer:
            return torch.optim.Adam([embedding, matrix, vector], **options)
        embedding['weight_decay'] = vector['weight_decay'] = 0.0
        if any(encoder.sparse for encoder in self.model.encoders.values()):
            optimizer = SparseAdamW([embedding, matrix, vector], **options)
        else:
            optimizer = torch.optim.AdamW(
                [embedding, matrix, vector], **options, fused=True
            )
        steps = self.schedule_steps
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
        )
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }
