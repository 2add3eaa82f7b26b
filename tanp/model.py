"""TaNP: a neural process whose decoder adapts to each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agnn_pyg.features import Attributes
from tanp.loader import EpisodeBatch
from tanp.loss import LIKELIHOODS
from tanp.nn.attention import SupportAttention
from tanp.nn.decoder import ModulatedDecoder
from tanp.nn.embedding import NodeEmbedding
from tanp.nn.encoder import Gaussian, LatentEncoder, SetEncoder
from tanp.nn.memory import ClusterMemory
from tanp.nn.rows import Rows, rows_of, sum_by
from tanp.statistics import Evidence, InteractionStatistics

TARGETS = ('query', 'all')
NUM_SUMMARY = 5


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
        statistics (InteractionStatistics, optional): What other users'
            interactions say of the items, as further inputs.
        attention_heads (int, optional): Heads of the attention of query items
            over the support, see :class:`~tanp.nn.SupportAttention`; it needs
            :obj:`statistics`. 0 leaves it out. (default: :obj:`0`)
        signed_pools (bool, optional): Average liked and disliked support
            interactions apart; it needs :obj:`statistics`, which tell what to
            expect. (default: :obj:`False`)

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
        statistics: InteractionStatistics | None = None,
        attention_heads: int = 0,
        signed_pools: bool = False,
    ) -> None:
        super().__init__()
        self.config = _config(locals())
        _check(target, likelihood, latent_channels, dropout)
        if statistics is None and not item_ids and item_attributes is None:
            raise ValueError(
                "'item_ids' is False, and there are neither 'item_attributes' nor "
                "'statistics'; something must tell items apart"
            )
        if signed_pools and statistics is None:
            raise ValueError(
                "'signed_pools' needs 'statistics' to tell what to expect (got None)"
            )
        if attention_heads and (statistics is None or target == 'all'):
            raise ValueError(
                f"'attention_heads' needs 'statistics' (got {statistics}) and 'target' "
                f"'query' (got {target!r}), else items would attend to their own labels"
            )
        self.target, self.likelihood = target, likelihood
        self.signed_pools = signed_pools
        self.num_items = num_items
        self.item = self.user = self.latent = self.memory = self.attention = None
        width = 0
        if item_ids or item_attributes is not None:
            self.item = NodeEmbedding(
                num_items, *embedding_channels, item_ids, item_attributes, id_dropout
            )
            width += embedding_channels[-1]
        if user_ids or user_attributes is not None:
            self.user = NodeEmbedding(
                num_users, *embedding_channels, user_ids, user_attributes, id_dropout
            )
            width += embedding_channels[-1]
        self.statistics = statistics
        shared = 0
        if statistics is not None:
            width += statistics.rank + statistics.num_counts
            self.lin_counts = nn.Linear(statistics.num_counts, 1)
            shared += NUM_SUMMARY
        if latent_channels is not None:
            *channels, hidden, latent_width = latent_channels
            self.latent = LatentEncoder(width, channels, hidden, latent_width, dropout)
            shared += latent_width
        self.task_encoder = SetEncoder(width, task_channels, dropout)
        task_width = task_channels[-1] * (1 + signed_pools)
        if num_clusters:
            self.memory = ClusterMemory(
                task_width, num_clusters, temperature, squared_distance
            )
        item_width = width
        if attention_heads:
            self.attention = SupportAttention(
                width, statistics.num_kernels, attention_heads, dropout=dropout
            )
            item_width += self.attention.out_channels
        self.decoder = ModulatedDecoder(
            item_width,
            shared,
            task_width + (NUM_SUMMARY if statistics is not None else 0),
            decoder_channels,
            modulation,
            residual_modulation,
            dropout,
        )

    def reset_parameters(self) -> None:
        for child in self.children():
            child.reset_parameters()

    def know(self, user: Tensor, item: Tensor) -> None:
        """Declares the users and items that training reads, and no others."""
        for embedding, row in ((self.item, item), (self.user, user)):
            if embedding is not None:
                embedding.know(row)

    def forward(self, batch: EpisodeBatch, z: Tensor | None = None) -> TaskOutput:
        """Scores the query items of a batch.

        Args:
            batch (EpisodeBatch): Support and query. The query's labels are read
                in training mode only, by the posterior.
            z (Tensor, optional): Latent codes to decode, :obj:`[B, F_z]`.
        """
        batch = batch.cleared()
        support, query = rows_of(batch.support_mask), rows_of(batch.query_mask)
        num_support, rows = support.task.numel(), _concatenate(support, query)
        evidence = None
        if self.statistics is not None:
            evidence = self.statistics(batch, centred=self.likelihood == 'gaussian')
        x = self._embed(batch, support, query, evidence)
        label = _take(support, query, batch.support_label, batch.query_label)
        label, base, scale = label.to(x.dtype), None, 1.0
        surprise = label
        if evidence is not None:
            base = _take(support, query, evidence.support_base, evidence.query_base)
            # Labels 1 and 0 surprise by 1 and -1.
            base = base.to(x.dtype)
            scale = 0.5 if self.likelihood == 'bernoulli' else 1.0
            surprise = (label - base) / scale

        prior, posterior = self._latent(x, surprise, rows, num_support, z is None)
        if z is None and prior is not None:
            z = prior.mu if posterior is None else posterior.sample()
        task, assignment = self._task(x[:num_support], surprise[:num_support], support)
        shared = [] if z is None else [z]
        if evidence is not None:
            summary = _summary(surprise[:num_support], support)
            task = torch.cat([task, summary], dim=-1)
            shared.append(summary)

        read = None
        if self.attention is not None:
            read = self._attend(x, surprise[:num_support], support, query, evidence)
        if not (self.training and self.target == 'all'):
            x, label, rows = x[num_support:], label[num_support:], query
            base = None if base is None else base[num_support:]
        features = x if read is None else torch.cat([x, read], dim=-1)
        context = torch.cat(shared, dim=-1) if shared else None
        score = self.decoder(features, rows.task, task, context)
        if evidence is not None:
            counts = x[:, -self.statistics.num_counts :]
            score = score + self.lin_counts(counts).squeeze(-1)
            if self.likelihood == 'gaussian':
                score = base + score
        return TaskOutput(score, label, rows, prior, posterior, assignment)

    def _embed(
        self,
        batch: EpisodeBatch,
        support: Rows,
        query: Rows,
        evidence: Evidence | None,
    ) -> Tensor:
        r"""What is known of each item, :math:`\mathbf{x}`; counts come last."""
        parts = []
        if self.item is not None:
            item = _take(support, query, batch.support_item, batch.query_item)
            parts.append(self.item(item))
        if self.user is not None:
            task = torch.cat([support.task, query.task])
            parts.append(self.user(batch.user).index_select(0, task))
        if evidence is not None:
            for name in ('vector', 'counts'):
                sides = (getattr(evidence, f'{s}_{name}') for s in ('support', 'query'))
                parts.append(_take(support, query, *sides).to(self.dtype))
        return torch.cat(parts, dim=-1)

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.lin_out.weight.dtype

    def _latent(
        self, x: Tensor, label: Tensor, rows: Rows, num_support: int, needed: bool
    ) -> tuple[Gaussian | None, Gaussian | None]:
        """Prior and, in training mode, posterior of the latent code."""
        if self.latent is None or not needed:
            return None, None
        if self.training:
            return self.latent.prior_and_posterior(
                x, label, rows.task, rows.num_tasks, num_support
            )
        context = x[:num_support], label[:num_support], rows.task[:num_support]
        return self.latent(*context, rows.num_tasks), None

    def _task(
        self, x: Tensor, label: Tensor, support: Rows
    ) -> tuple[Tensor, Tensor | None]:
        """The task embedding and, if there is a memory, its clusters."""
        if self.signed_pools:
            pool = 2 * support.task + (label > 0)
            task = self.task_encoder(x, label, pool, 2 * support.num_tasks)
            task = task.view(support.num_tasks, -1)
        else:
            task = self.task_encoder(x, label, support.task, support.num_tasks)
        return (task, None) if self.memory is None else self.memory(task)

    def _attend(
        self,
        x: Tensor,
        surprise: Tensor,
        support: Rows,
        query: Rows,
        evidence: Evidence,
    ) -> Tensor:
        """What the support says of each query item, :obj:`[R, F_r]`."""
        x_support, x_query = x.split([support.task.numel(), query.task.numel()])
        read = self.attention(
            query.pad(x_query),
            support.pad(x_support),
            support.pad(surprise),
            support.pad(torch.ones_like(surprise)) > 0,
            evidence.kernel.to(x.dtype),
        )
        return query.take(read)


def _take(support: Rows, query: Rows, one: Tensor, other: Tensor) -> Tensor:
    """Rows of padded tensors, the support's first."""
    return torch.cat([support.take(one), query.take(other)])


def _summary(surprise: Tensor, support: Rows) -> Tensor:
    """How many of a support surprise for good and for bad, in several scales."""
    signs = torch.stack([surprise > 0, surprise <= 0], dim=-1).to(surprise.dtype)
    like, dislike = sum_by(signs, support.task, support.num_tasks).unbind(-1)
    balance = (like - dislike) / (like + dislike + 2)
    return torch.stack(
        [like / 10, dislike / 10, like.log1p(), dislike.log1p(), balance], dim=-1
    )


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
    tables = ('item_attributes', 'user_attributes', 'statistics')
    config = {
        name: list(value) if isinstance(value, (tuple, list)) else value
        for name, value in arguments.items()
        if name not in ('self', '__class__', *tables)
    }
    statistics = arguments['statistics']
    return config | {'statistics': statistics and statistics.config}


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
