"""Lightning module for AGNN: loss, optimizer and metrics."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from agnn_pyg.agnn_config import NetworkTrainingConfig
from agnn_pyg.base.checks import check_rating_range
from agnn_pyg.base.ranking import pairs_among
from agnn_pyg.base.training import LossModule
from agnn_pyg.loss import agnn_loss, sampled_softmax
from agnn_pyg.model import AGNN
from agnn_pyg.nn.node_encoder import NodeState
from agnn_pyg.sampling.batch import RatingBatch, check_loader

# Steps of the linear warm-up of the learning rate.
WARM_UP = 10


class RatingModule(LossModule):
    r"""Trains :class:`~agnn_pyg.AGNN` on ratings, or on positives without ratings.

    Batches come from :class:`~agnn_pyg.FullGraphLoader` or PyG's
    :class:`~torch_geometric.loader.LinkNeighborLoader`.

    The optimizer is AdamW with a cosine schedule over all steps, after a short linear
    warm-up. Weight decay applies only to matrices; embeddings of nodes have their own
    setting. The published optimizer is Adam with a constant learning rate and weight
    decay of all parameters.

    Args:
        model (AGNN): The model to train.
        rating_range (tuple, optional): Range to which validation clamps predictions.
            (default: :obj:`None`)
        **settings (optional): Settings of
            :class:`~agnn_pyg.agnn_config.NetworkTrainingConfig`: learning rates, weight
            decay, weights of the terms of the loss, and the seed of dropout and noise.
    """

    def __init__(
        self,
        model: AGNN,
        rating_range: tuple[float, float] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.model = model
        if rating_range is not None and rating_range[0] != rating_range[1]:
            check_rating_range(rating_range)  # ratings of a fit may all be equal
        self.rating_range = rating_range
        self.config = NetworkTrainingConfig(**settings)
        # `fit` reads the seed and sets the number of steps.
        self.seed = self.config.seed
        self.schedule_steps = None
        self.metrics = MetricCollection(
            {'rmse': MeanSquaredError(squared=False), 'mae': MeanAbsoluteError()},
            prefix='val_',
        )

    def forward(self, batch: RatingBatch | HeteroData) -> Tensor:
        return self.model(*RatingBatch.from_data(batch)[:-1])

    def before_fit(self, train: Any, validation: Any) -> None:
        """See :func:`~agnn_pyg.base.training.fit`."""
        if self.model.positives and validation is not None:
            raise ValueError(
                "'validation' must be None for positives, which have no ratings (got a "
                'loader); train for a fixed number of epochs'
            )
        for name, loader in (('train', train), ('validation', validation)):
            check_loader(name, loader)
            if loader is not None and getattr(loader, 'edge_label', ()) is None:
                raise ValueError(
                    f"'{name}' must have ratings as 'edge_label' (got None); pass them"
                )
            if getattr(loader, 'neg_sampling', None) is not None:
                raise ValueError(
                    f"'{name}' must not sample negative pairs, which would count as "
                    f'ratings of 0 (got {loader.neg_sampling}); leave it out'
                )
        left_out = getattr(train, 'left_out', ())
        encoders = self.model.encoders.values()
        asked = {t for encoder in encoders for t in encoder.edge_types}
        lacking = sorted(asked.intersection(left_out))
        if lacking:
            raise ValueError(
                f"'train' leaves out edges {lacking[0]}, which the model needs; remove "
                f"them from its 'edge_types', or use a LinkNeighborLoader"
            )

    def transfer_batch_to_device(
        self, batch: RatingBatch | HeteroData, device: torch.device, dataloader_idx: int
    ) -> RatingBatch:
        return RatingBatch.from_data(batch).to(device)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.metrics.reset()

    def training_step(self, batch: RatingBatch, batch_idx: int) -> Tensor:
        config = self.config
        batch = _labelled(batch)
        states = self.model.encode(**batch.nodes_and_edges)
        pairs = batch.edge_label_index
        predicted = self.model.decode(states, pairs)
        ranking = None
        if self.model.positives:
            ranking = self._rank(states, batch, predicted)
        terms = agnn_loss(
            batch.edge_label,
            predicted,
            [states[end] for end in self.model.ends],
            kl_weight=config.kl_weight,
            reconstruction_weight=config.reconstruction_weight,
            embedding_l2=config.embedding_l2,
            published=pairs if config.published_loss else None,
            ranking=ranking,
        )
        return self.note(terms, len(predicted))

    def _rank(
        self, states: dict[str, NodeState], batch: RatingBatch, predicted: Tensor
    ) -> Tensor:
        """Sampled softmax over items with edges; items without edges may be new."""
        model, pairs = self.model, batch.edge_label_index
        rated = batch.edge_index_dict.get(model.rated, pairs[:, :0])
        known = torch.cat([rated, pairs], dim=1)
        users, row = pairs[0].unique(return_inverse=True)
        items = known[1].unique()
        size = min(self.config.num_negatives, len(items))
        log_q = math.log(size / len(items))
        items = items[torch.randperm(len(items), device=items.device)[:size]]
        left = model.factors(states[model.ends[0]], 0, users)
        right = model.factors(states[model.ends[1]], 1, items)
        score = left @ right.t()
        first, second, found = pairs_among(known, users, items)
        is_positive = torch.zeros_like(score, dtype=torch.bool)
        is_positive[first[found], second[found]] = True
        weight = batch.edge_label
        return sampled_softmax(predicted, score, row, is_positive, log_q, weight)

    def validation_step(self, batch: RatingBatch, batch_idx: int) -> None:
        batch = _labelled(batch)
        predicted = self(batch)
        if self.rating_range is not None:
            predicted = predicted.clamp(*self.rating_range)
        self.metrics.update(predicted, batch.edge_label)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metrics.compute(), prog_bar=True)
        self.metrics.reset()

    def configure_optimizers(self) -> Any:
        groups: dict[str, list[Tensor]] = {'embedding': [], 'matrix': [], 'vector': []}
        for name, parameter in self.model.named_parameters():
            group = 'matrix' if parameter.dim() > 1 else 'vector'
            group = 'embedding' if name.endswith('.embedding') else group
            groups[group].append(parameter)
        embedding, matrix, vector = ({'params': group} for group in groups.values())
        embedding['lr'] = self.config.embedding_lr
        options = {'lr': self.config.lr, 'weight_decay': self.config.weight_decay}
        if self.config.published_optimizer:
            return torch.optim.Adam([embedding, matrix, vector], **options)
        embedding['weight_decay'] = self.config.embedding_weight_decay
        vector['weight_decay'] = 0.0
        groups = [embedding, matrix, vector]
        optimizer = torch.optim.AdamW(groups, **options, fused=True)
        steps = self.schedule_steps or self.trainer.estimated_stepping_batches

        def rate(step: int) -> float:
            warm_up = min(1.0, (step + 1) / min(WARM_UP, steps))
            return warm_up * 0.5 * (1 + math.cos(math.pi * step / steps))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        schedule = {'scheduler': schedule, 'interval': 'step'}
        return {'optimizer': optimizer, 'lr_scheduler': schedule}


def _labelled(batch: RatingBatch | HeteroData) -> RatingBatch:
    batch = RatingBatch.from_data(batch)
    if batch.edge_label is None:
        raise ValueError(
            "Batches must have the ratings of their pairs as 'edge_label' (got None); "
            "pass 'edge_label' to the loader"
        )
    return batch
