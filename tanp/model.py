"""TaNP: a neural process whose decoder adapts to each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agnn_pyg.base.encoder import TokenBags
from tanp.config import check_arguments
from tanp.inputs import InputEncoder, TaskInputs
from tanp.loader import EpisodeBatch
from tanp.nn.attention import SupportAttention
from tanp.nn.decoder import ModulatedDecoder
from tanp.nn.encoder import Gaussian, LatentEncoder, SetEncoder
from tanp.nn.memory import ClusterMemory
from tanp.nn.regression import SupportRegression
from tanp.nn.rows import Rows
from tanp.statistics import InteractionStatistics

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


class TaskCode(NamedTuple):
    """What the supports of B tasks say of them, see :class:`TaskOutput`.

    Attributes:
        task: What modulates the decoder, :obj:`[B, F_task]`.
        context: What a task's items share, :obj:`[B, F_z]`, if anything.
        prior: See :class:`TaskOutput`, as the next two.
        posterior: Of the latent code.
        assignment: To the clusters.
    """

    task: Tensor
    context: Tensor | None
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
        item_attributes (TokenBags, optional): Side information of the items.
        user_attributes (TokenBags, optional): Side information of the users.
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
        processes (int, optional): Gaussian processes that regress the support, see
            :class:`~tanp.nn.SupportRegression`; they need :obj:`statistics`. 0 leaves
            them out. (default: :obj:`0`)
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
        item_attributes: TokenBags | None = None,
        user_attributes: TokenBags | None = None,
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
        processes: int = 0,
        signed_pools: bool = False,
    ) -> None:
        super().__init__()
        check_arguments(locals())
        self.config = _config(locals())
        self.target, self.likelihood = target, likelihood
        self.signed_pools = signed_pools
        self.inputs = InputEncoder(
            num_items,
            num_users,
            item_attributes,
            user_attributes,
            item_ids,
            user_ids,
            id_dropout,
            embedding_channels,
            statistics,
            likelihood,
        )
        width = self.inputs.out_channels
        self.latent = self.memory = self.lin_counts = None
        self.attention = self.regression = None
        # What all items of a task share, and what modulates: more of it below.
        context_width, task_width = 0, task_channels[-1] * (1 + signed_pools)
        if latent_channels is not None:
            *channels, hidden, context_width = latent_channels
            self.latent = LatentEncoder(width, channels, hidden, context_width, dropout)
        self.task_encoder = SetEncoder(width, task_channels, dropout)
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
        if processes:
            self.regression = SupportRegression(len(statistics.positive), processes)
            item_width += self.regression.out_channels
        if statistics is not None:
            self.lin_counts = nn.Linear(statistics.num_counts, 1)
            context_width, task_width = (
                width + NUM_SUMMARY for width in (context_width, task_width)
            )
        self.decoder = ModulatedDecoder(
            item_width,
            context_width,
            task_width,
            decoder_channels,
            modulation,
            residual_modulation,
            dropout,
        )

    def reset_parameters(self) -> None:
        for child in self.children():
            child.reset_parameters()

    def know(self, user: Tensor, item: Tensor) -> None:
        """Declares the users and items that training reads, and no others.

        An id of any other has the meaning of one never trained, see
        :class:`~tanp.nn.NodeEmbedding`. Training calls this itself.
        """
        self.inputs.know(user, item)

    def forward(self, batch: EpisodeBatch, z: Tensor | None = None) -> TaskOutput:
        """Scores the query items of a batch.

        Args:
            batch (EpisodeBatch): Support and query. The query's labels are read
                in training mode only, by the posterior.
            z (Tensor, optional): Latent codes to decode, :obj:`[B, F_z]`.
        """
        inputs = self.inputs(batch)
        task, context, prior, posterior, assignment = self.encode(inputs, z)

        rows = inputs.rows
        x, label, base, counts = inputs.x, inputs.label, inputs.base, inputs.counts
        if not (self.training and self.target == 'all'):
            rows = inputs.query
            x, label, base, counts = (
                value if value is None else value[inputs.num_support :]
                for value in (x, label, base, counts)
            )
        if self.attention is not None or self.regression is not None:
            x = torch.cat([x, *self._read(inputs)], dim=-1)
        score = self.decoder(x, rows.task, task, context)
        if self.lin_counts is not None:
            score = score + self.lin_counts(counts).squeeze(-1)
            if self.likelihood == 'gaussian':
                score = score + base
        return TaskOutput(score, label, rows, prior, posterior, assignment)

    def encode(self, inputs: TaskInputs, z: Tensor | None = None) -> TaskCode:
        """What a support says of its task as a whole.

        Args:
            inputs (TaskInputs): The query is read in training mode only, by the
                posterior.
            z (Tensor, optional): Latent codes to use, :obj:`[B, F_z]`.
        """
        prior = posterior = None
        if self.latent is not None and z is None:
            prior, posterior = self._latent(inputs)
            z = prior.mu if posterior is None else posterior.sample()
        task, assignment = self._task(inputs)
        shared = [] if z is None else [z]
        if self.lin_counts is not None:
            summary = _summary(inputs)
            task = torch.cat([task, summary], dim=-1)
            shared.append(summary)
        context = torch.cat(shared, dim=-1) if shared else None
        return TaskCode(task, context, prior, posterior, assignment)

    def _latent(self, inputs: TaskInputs) -> tuple[Gaussian, Gaussian | None]:
        """Prior and, in training mode, posterior of the latent code."""
        x, surprise, rows, size = (
            inputs.x,
            inputs.surprise,
            inputs.rows,
            inputs.num_support,
        )
        if self.training:
            return self.latent.prior_and_posterior(
                x, surprise, rows.task, rows.num_tasks, size
            )
        context = x[:size], surprise[:size], rows.task[:size], rows.num_tasks
        return self.latent(*context), None

    def _task(self, inputs: TaskInputs) -> tuple[Tensor, Tensor | None]:
        """The task embedding and, if there is a memory, its clusters."""
        x, surprise = (v[: inputs.num_support] for v in (inputs.x, inputs.surprise))
        pool, num_tasks = inputs.support.task, inputs.support.num_tasks
        num_pools = num_tasks
        if self.signed_pools:
            pool, num_pools = 2 * pool + (surprise > 0), 2 * num_tasks
        task = self.task_encoder(x, surprise, pool, num_pools).view(num_tasks, -1)
        return (task, None) if self.memory is None else self.memory(task)

    def _read(self, inputs: TaskInputs) -> Iterator[Tensor]:
        """What the support says of each query item, a row each."""
        support, query, size = inputs.support, inputs.query, inputs.num_support
        surprise = inputs.surprise[:size]
        mask = support.pad(torch.ones_like(surprise)) > 0
        surprise = support.pad(surprise)
        if self.attention is not None:
            x = query.pad(inputs.x[size:]), support.pad(inputs.x[:size])
            yield query.take(self.attention(*x, surprise, mask, inputs.kernel))
        if self.regression is not None:
            kernel = inputs.kernel[..., self.inputs.statistics.positive]
            kernels = kernel, inputs.support_kernel
            yield query.take(self.regression(*kernels, surprise, mask))


def _summary(inputs: TaskInputs) -> Tensor:
    """How many of a support surprise for good and for bad, in several scales."""
    surprise, support = inputs.surprise[: inputs.num_support], inputs.support
    sign = 2 * support.task + (surprise <= 0)
    count = torch.bincount(sign, minlength=2 * support.num_tasks)
    count = count.view(-1, 2).to(surprise.dtype)
    like, dislike = count.chunk(2, dim=-1)
    balance = (like - dislike) / (like + dislike + 2)
    return torch.cat([count / 10, count.log1p(), balance], dim=-1)


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
