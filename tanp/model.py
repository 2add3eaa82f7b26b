"""TaNP: a neural process whose decoder adapts to each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agnn_pyg.features import Attributes
from tanp.loader import EpisodeBatch
from tanp.loss import LIKELIHOODS
from tanp.nn.decoder import ModulatedDecoder
from tanp.nn.embedding import NodeEmbedding
from tanp.nn.encoder import Gaussian, LatentEncoder, SetEncoder
from tanp.nn.memory import ClusterMemory
from tanp.nn.rows import Rows, rows_of

TARGETS = ('query', 'all')


class TaskOutput(NamedTuple):
    r"""What :class:`TaNP` says of a batch of B tasks.

    Attributes:
        score: One value a target row, :obj:`[R]`: the logit of a positive label
            under the Bernoulli likelihood, the mean under the Gaussian.
        label: Labels of these rows, :obj:`[R]`.
        rows: Which rows: the query's, task after task; in training with
            :obj:`target="all"` the support's precede them.
        prior: :math:`q(\mathbf{z} \mid S)`, if there is a latent path.
        posterior: :math:`q(\mathbf{z} \mid S \cup Q)`, in training.
        assignment: Cluster assignments, :obj:`[B, k]`, if there is a memory.
    """

    score: Tensor
    label: Tensor
    rows: Rows
    prior: Gaussian | None
    posterior: Gaussian | None
    assignment: Tensor | None


class TaNP(nn.Module):
    r"""The task-adaptive neural process from the `"Task-adaptive Neural Process
    for User Cold-Start Recommendation" <https://arxiv.org/abs/2103.06137>`_
    paper.

    A user is a task: labelled support interactions in, scores of query items
    out, and no gradient step between. The latent path turns the support into
    :math:`q(\mathbf{z} \mid S)`, in training also with the query into
    :math:`q(\mathbf{z} \mid S \cup Q)`; the task path turns it into a task
    embedding, which the cluster memory refines and which modulates the decoder.

    In training mode :math:`\mathbf{z}` is a sample of the posterior, in
    evaluation mode the mean of the prior, or what :meth:`forward` is given.

    Args:
        num_items (int): Rows in the table of items.
        num_users (int, optional): Rows in the table of users; needed where
            users have ids or attributes. (default: :obj:`0`)
        item_attributes (Attributes, optional): Side information of the items.
        user_attributes (Attributes, optional): Side information of the users.
        item_ids (bool, optional): Learn a row for each item.
            (default: :obj:`True`)
        user_ids (bool, optional): Learn a row for each user, though a user to
            serve has none; see :class:`~tanp.nn.NodeEmbedding`.
            (default: :obj:`False`)
        id_dropout (float, optional): See :class:`~tanp.nn.NodeEmbedding`.
            (default: :obj:`0.0`)
        embedding_channels (sequence, optional): Widths of the two layers of
            item and user embeddings. (default: :obj:`(32, 16)`)
        latent_channels (sequence, optional): Widths of the set encoder's
            layers in the latent path, of the layer before the heads and of
            :math:`\mathbf{z}`; :obj:`None` leaves the path out.
            (default: :obj:`(64, 64, 32, 32, 32)`)
        task_channels (sequence, optional): Widths of the task encoder's layers.
            (default: :obj:`(128, 64, 64)`)
        num_clusters (int, optional): Centres of the memory; 0 leaves it out.
            (default: :obj:`7`)
        temperature (float, optional): Of the memory. (default: :obj:`1.0`)
        squared_distance (bool, optional): See :class:`~tanp.nn.ClusterMemory`.
            (default: :obj:`True`)
        decoder_channels (sequence, optional): Widths of the decoder's hidden
            layers. (default: :obj:`(128, 128, 128)`)
        modulation (str, optional): :obj:`"film"` or :obj:`"gating"`.
            (default: :obj:`"film"`)
        residual_modulation (bool, optional): See
            :class:`~tanp.nn.ModulatedDecoder`. (default: :obj:`True`)
        target (str, optional): What training predicts: :obj:`"query"`, or
            :obj:`"all"` for support and query, as published.
            (default: :obj:`"query"`)
        likelihood (str, optional): :obj:`"bernoulli"` for labels 0 and 1,
            :obj:`"gaussian"` for ratings. (default: :obj:`"bernoulli"`)
        dropout (float, optional): In encoders and decoder.
            (default: :obj:`0.0`)

    Raises:
        ValueError: If an argument lies outside its range.
    """

    def __init__(
        self,
        num_items: int,
        num_users: int = 0,
        *,
        item_attributes: Attributes | None = None,
        user_attributes: Attributes | None = None,
        item_ids: bool = True,
        user_ids: bool = False,
        id_dropout: float = 0.0,
        embedding_channels: Sequence[int] = (32, 16),
        latent_channels: Sequence[int] | None = (64, 64, 32, 32, 32),
        task_channels: Sequence[int] = (128, 64, 64),
        num_clusters: int = 7,
        temperature: float = 1.0,
        squared_distance: bool = True,
        decoder_channels: Sequence[int] = (128, 128, 128),
        modulation: str = 'film',
        residual_modulation: bool = True,
        target: str = 'query',
        likelihood: str = 'bernoulli',
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.config = _config(locals())
        _check(target, likelihood, latent_channels, dropout)
        self.target, self.likelihood = target, likelihood
        self.item = NodeEmbedding(
            num_items, *embedding_channels, item_ids, item_attributes, id_dropout
        )
        self.user = None
        width = embedding_channels[-1]
        if user_ids or user_attributes is not None:
            self.user = NodeEmbedding(
                num_users, *embedding_channels, user_ids, user_attributes, id_dropout
            )
            width *= 2
        self.latent = self.memory = None
        latent_width = 0
        if latent_channels is not None:
            *channels, hidden, latent_width = latent_channels
            self.latent = LatentEncoder(width, channels, hidden, latent_width, dropout)
        self.task_encoder = SetEncoder(width, task_channels, dropout)
        if num_clusters:
            self.memory = ClusterMemory(
                task_channels[-1], num_clusters, temperature, squared_distance
            )
        self.decoder = ModulatedDecoder(
            width,
            latent_width,
            task_channels[-1],
            decoder_channels,
            modulation,
            residual_modulation,
            dropout,
        )

    @property
    def num_items(self) -> int:
        return self.item.num_nodes

    def reset_parameters(self) -> None:
        for child in self.children():
            child.reset_parameters()

    def know(self, user: Tensor, item: Tensor) -> None:
        """Declares the users and items that training reads, and no others."""
        self.item.know(item)
        if self.user is not None:
            self.user.know(user)

    def embed(self, user: Tensor | None, item: Tensor, task: Tensor) -> Tensor:
        r"""The rows :math:`\mathbf{x}` of items, next to their task's user."""
        x = self.item(item)
        if user is None:
            return x
        return torch.cat([x, user.index_select(0, task)], dim=-1)

    def forward(self, batch: EpisodeBatch, z: Tensor | None = None) -> TaskOutput:
        """Scores the query items of a batch.

        Args:
            batch (EpisodeBatch): Support and query. The query's labels are read
                in training mode only, by the posterior.
            z (Tensor, optional): Latent codes to decode, :obj:`[B, F_z]`.
        """
        support, query = rows_of(batch.support_mask), rows_of(batch.query_mask)
        num_tasks, num_support = support.num_tasks, support.task.numel()
        item = torch.cat(
            [support.take(batch.support_item), query.take(batch.query_item)]
        )
        label = torch.cat(
            [support.take(batch.support_label), query.take(batch.query_label)]
        )
        rows = _concatenate(support, query)
        user = None if self.user is None else self.user(batch.user)
        x = self.embed(user, item, rows.task)
        label = label.to(x.dtype)
        context = x[:num_support], label[:num_support], support.task, num_tasks

        prior = posterior = assignment = None
        if self.latent is not None:
            if self.training:
                prior, posterior = self.latent.prior_and_posterior(
                    x, label, rows.task, num_tasks, num_support
                )
            elif z is None:
                prior = self.latent(*context)
            if z is None:
                z = posterior.sample() if self.training else prior.mu
        task = self.task_encoder(*context)
        if self.memory is not None:
            task, assignment = self.memory(task)

        if not (self.training and self.target == 'all'):
            x, label, rows = x[num_support:], label[num_support:], query
        score = self.decoder(x, rows.task, task, z)
        return TaskOutput(score, label, rows, prior, posterior, assignment)


def _concatenate(support: Rows, query: Rows) -> Rows:
    """Support rows, then query rows, each in slots of their own."""
    return Rows(
        torch.cat([support.task, query.task]),
        torch.cat([support.slot, query.slot + support.num_slots]),
        support.num_tasks,
        support.num_slots + query.num_slots,
    )


def _config(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a model as plain data; tables are in its state."""
    tables = ('item_attributes', 'user_attributes')
    return {
        name: list(value) if isinstance(value, (tuple, list)) else value
        for name, value in arguments.items()
        if name not in ('self', '__class__', *tables)
    }


def _check(
    target: str, likelihood: str, latent_channels: Sequence[int] | None, dropout: float
) -> None:
    for name, value, known in (
        ('target', target, TARGETS),
        ('likelihood', likelihood, LIKELIHOODS),
    ):
        if value not in known:
            raise ValueError(f"'{name}' must be one of {tuple(known)} (got {value!r})")
    if latent_channels is not None and len(latent_channels) < 3:
        raise ValueError(
            f"'latent_channels' must name the widths of the set encoder, of the layer "
            f'before the heads and of z (got {latent_channels})'
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"'dropout' must lie in [0, 1) (got {dropout})")
