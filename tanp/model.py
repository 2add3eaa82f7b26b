"""TaNP: the published task-adaptive neural process."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from agnn_pyg.base.config import check_argument
from agnn_pyg.base.encoder import TokenBags
from tanp.config import TaNPConfig
from tanp.loader import EpisodeBatch
from tanp.nn import (
    ClusterMemory,
    Gaussian,
    LatentEncoder,
    ModulatedDecoder,
    NodeEmbedding,
    SetEncoder,
)

Likelihood = Literal['bernoulli', 'gaussian', 'implicit']


class TaskOutput(NamedTuple):
    r"""Scores of B padded tasks, and other inputs of the loss.

    Scores are logits of a positive label under the Bernoulli and implicit likelihoods,
    and means under the Gaussian. They are for the query; in training with
    :obj:`predict_support`, for the support and the query.
    """

    score: Tensor  # [B, n]
    label: Tensor  # [B, n]
    mask: Tensor  # false for padding, [B, n]
    prior: Gaussian | None  # q(z | S)
    posterior: Gaussian | None  # q(z | S and Q), in training
    assignment: Tensor | None  # to clusters, [B, k]


class NeuralProcess(nn.Module):
    """Base class with the embeddings and encoders of :class:`TaNP`.

    Args:
        num_features (int, optional): Features of an interaction besides embeddings.
    """

    Config: ClassVar[type[TaNPConfig]] = TaNPConfig
    statistics = None  # item statistics, only in AttentiveTaNP

    def __init__(
        self,
        num_items: int,
        num_users: int = 0,
        *,
        item_attributes: TokenBags | None = None,
        user_attributes: TokenBags | None = None,
        likelihood: str = 'bernoulli',
        num_features: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.config = config = self.Config(**options)
        self.likelihood = check_argument('likelihood', likelihood, Likelihood)
        self.num_items, self.num_users = num_items, num_users
        self.item = self.user = self.latent = self.memory = None
        channels = config.embedding_channels
        width = num_features
        item = num_items, channels, config.item_ids, item_attributes
        user = num_users, channels, config.user_ids, user_attributes
        for side, (*sizes, use_id, attributes) in (('item', item), ('user', user)):
            if use_id or attributes is not None:
                setattr(self, side, NodeEmbedding(*sizes, use_id, attributes))
                width += channels[-1]
        self.in_channels = width
        # AttentiveTaNP may concatenate two means over a support.
        num_pools = 1 + getattr(config, 'pool_by_sign', False)
        self.task_channels = num_pools * config.task_channels[-1]
        if config.latent_channels is not None:
            self.latent = LatentEncoder(width, config.latent_channels, config.dropout)
        self.task_encoder = SetEncoder(width, config.task_channels, config.dropout)
        if config.num_clusters:
            memory = config.num_clusters, config.temperature, config.squared_distance
            self.memory = ClusterMemory(self.task_channels, *memory)

    def make_decoder(self, in_channels: int, num_summary: int = 0) -> ModulatedDecoder:
        """Makes a decoder; support summaries extend both z and the task embedding."""
        *_, width = self.config.latent_channels or (0,)
        sizes = in_channels, num_summary + width, num_summary + self.task_channels
        names = 'decoder_channels', 'modulation', 'residual_modulation', 'dropout'
        return ModulatedDecoder(*sizes, *self.config.subset(*names).values())

    def reset_parameters(self) -> None:
        for child in self.children():
            child.reset_parameters()

    def set_trained_ids(self, user: Tensor, item: Tensor) -> None:
        """Marks the users and items of training; called by the training module."""
        for embedding, row in ((self.item, item), (self.user, user)):
            if embedding is not None:
                embedding.set_trained_ids(row)

    def with_nodes(self, side: str, attributes: TokenBags) -> NeuralProcess:
        """A copy with new items or users from attributes; layers are shared."""
        made = copy.copy(self)
        further = self._modules[side].with_nodes(attributes)
        made._modules = self._modules | {side: further}
        setattr(made, f'num_{side}s', len(further.index))
        return made

    @torch.no_grad()
    def for_users(self, row: Tensor) -> NeuralProcess:
        """A copy for some users, renumbered from 0; layers are shared.

        :obj:`row` has their rows in this model, or -1 for new ones without attributes.
        """
        made = copy.copy(self)
        made.num_users = len(row)
        if self.user is not None:
            user = nn.Embedding.from_pretrained(self.user(row))
            made._modules = self._modules | {'user': user}
        if self.statistics is not None:
            made.statistics = replace(self.statistics, row=row)
        return made

    def catalogue(self) -> Any:
        """Precomputed item results for :meth:`score_all`; None in this class."""

    @torch.no_grad()
    def score_all(self, batch: EpisodeBatch, catalogue: Any = None) -> Tensor:
        """Scores of all items for each task, :obj:`[B, I]`; queries are not read."""
        item = torch.arange(self.num_items, device=batch.user.device)
        item = item.expand(len(batch.user), -1)
        query = {'query_item': item, 'query_label': 0 * item, 'query_mask': item >= 0}
        return self(batch._replace(**query)).score

    def embed_user(self, row: Tensor) -> Tensor:
        """Embeddings of users by row; of width 0 if users have no embedding."""
        if self.user is None:
            return self.decoder.lin_out.weight.new_empty(len(row), 0)
        return self.user(row)


class TaNP(NeuralProcess):
    r"""The model of the `"Task-adaptive Neural Process for User Cold-Start
    Recommendation" <https://arxiv.org/abs/2103.06137>`_ paper.

    Each user is a task: the model reads labelled support interactions :math:`S` and
    scores query items, without a gradient step. With :math:`\mathbf{x}_i` the embedding
    of item and user and :math:`y_i` the label of interaction :math:`i`,

    1. the latent path encodes :math:`q(\mathbf{z} \mid S)` and, in training, also
       :math:`q(\mathbf{z} \mid S \cup Q)` (Section 4.2); :math:`\mathbf{z}` is a sample
       of the latter in training, and the mean of the former in evaluation;
    2. the task identity network encodes :math:`\mathbf{r}(S)`, and the cluster memory
       maps it to the task embedding :math:`\mathbf{o}` (Section 4.3);
    3. the decoder predicts :math:`\hat y_q` from :math:`[\mathbf{x}_q \, \Vert \,
       \mathbf{z}]`, with hidden layers modulated by :math:`\mathbf{o}` (Section 4.4).

    The defaults correct errors of the published code. :meth:`TaNPRecommender.
    as_published <tanp.TaNPRecommender.as_published>` restores them.

    Args:
        num_items (int): Number of items.
        num_users (int, optional): Users with ids or attributes. (default: :obj:`0`)
        item_attributes (TokenBags, optional): Attributes of the items.
        user_attributes (TokenBags, optional): Attributes of the users.
        likelihood (str, optional): :obj:`"bernoulli"` for labels 0 and 1,
            :obj:`"gaussian"` for ratings, :obj:`"implicit"` for weights of positives
            and label 0 of drawn items. (default: :obj:`"bernoulli"`)
        **options (optional): See :class:`~tanp.config.TaNPConfig`.
    """

    def __init__(self, num_items: int, num_users: int = 0, **options: Any) -> None:
        super().__init__(num_items, num_users, **options)
        if self.item is None:
            raise ValueError(
                "'item_ids' must be True if items have no attributes (got False); "
                "set it to True, or pass 'item_attributes'"
            )
        self.decoder = self.make_decoder(self.in_channels)

    def forward(self, batch: EpisodeBatch, z: Tensor | None = None) -> TaskOutput:
        """Scores the query items of a batch.

        Only the posterior, in training, reads their labels. If latent codes :obj:`z`
        are given, :obj:`[B, F_z]`, they are decoded.
        """
        batch = batch.cleared(self.decoder.lin_out.weight.dtype)
        size = batch.support_item.size(1)
        pairs = zip(batch[1:4], batch[4:], strict=True)
        # size = [B, S + Q]
        item, label, mask = (torch.cat(pair, dim=1) for pair in pairs)
        # size = [B, S + Q, F]
        x = join([self.item(item)], self.embed_user(batch.user))

        support = x[:, :size], label[:, :size], mask[:, :size]
        prior = posterior = assignment = None
        if self.latent is not None:
            prior = self.latent(*support)
        task = self.task_encoder(*support)
        if self.memory is not None:
            task, assignment = self.memory(task)
        if self.latent is not None and z is None:
            z = prior.mu
            if self.training:
                posterior = self.latent(x, label, mask)
                z = posterior.sample()

        first = 0 if self.training and self.config.predict_support else size
        # size = [B, Q]
        score = self.decoder(x[:, first:], task, z)
        label, mask = label[:, first:], mask[:, first:]
        return TaskOutput(score, label, mask, prior, posterior, assignment)


def join(parts: list[Tensor], user: Tensor) -> Tensor:
    """Concatenates item features :obj:`[B, n, F]` with their user's embedding."""
    return torch.cat([*parts, user[:, None].expand(-1, parts[0].size(1), -1)], dim=-1)
