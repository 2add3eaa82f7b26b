"""AttentiveTaNP: a task-adaptive neural process that reads item statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agnn_pyg.base.encoder import TokenBags
from tanp.config import AttentiveConfig
from tanp.item_statistics import MEAN_DAMPING, ItemFeatures, ItemStatistics
from tanp.loader import EpisodeBatch
from tanp.model import NeuralProcess, TaskOutput, join
from tanp.nn import EncodedSupport, Gaussian, SupportAttention, SupportGP

# Number of residual counts that enter the decoder and its modulation.
NUM_SUMMARY = 5


class AttentiveCode(NamedTuple):
    """Encoded supports."""

    items: ItemFeatures  # of support items
    user: Tensor  # user vectors, [B, F_user]
    x: Tensor  # embedded interactions, [B, S, F]
    residual: Tensor  # zero at padding, [B, S]
    level: Tensor  # expected label minus the damped item mean, [B, 1]
    task: Tensor  # input of the modulation, [B, F_task]
    summary: Tensor  # counts of positive and other residuals, [B, 5]
    support: EncodedSupport | None  # for the attention
    dual: tuple[Tensor, Tensor] | None  # for the Gaussian processes
    prior: Gaussian | None
    assignment: Tensor | None


class Catalogue(NamedTuple):
    """Cached results for all items that do not depend on the task."""

    items: ItemFeatures  # for users without interactions, [1, I]
    hidden: Tensor  # contribution of items to the decoder's first layer, [I, C]
    query: Tensor | None  # contribution to attention queries, [1, heads, D, I]


class AttentiveTaNP(NeuralProcess):
    r"""A neural process in which query items attend to the support.

    It has the encoders and the modulated decoder of :class:`~tanp.TaNP`. The score of
    query item :math:`q` given support :math:`S` is

    .. math::
        \hat s_q = \mathrm{dec} \big( [\mathbf{x}_q \, \Vert \, \mathbf{a}_q \, \Vert \,
        \mathbf{f}_q \, \Vert \, \mathbf{c}]; \mathbf{o} \big) + \mathbf{w}^\top
        \mathbf{p}_q + b + \hat y_q

    where :math:`\mathbf{x}` concatenates embeddings with the item vectors and
    popularity :math:`\mathbf{p}` of :class:`~tanp.ItemStatistics`,
    :math:`\mathbf{a}_q` is the output of :class:`~tanp.nn.SupportAttention`,
    :math:`\mathbf{f}_q` that of :class:`~tanp.nn.SupportGP`, :math:`\mathbf{c}` counts
    positive and other support residuals, and :math:`\hat y_q` is the expected label,
    for ratings only. Encoders read residuals :math:`\rho` instead of labels. The task
    embedding :math:`\mathbf{o}` joins means over positive and over other residuals.

    Args:
        statistics (ItemStatistics): Statistics of the training users' interactions.
        num_users (int, optional): See :class:`~tanp.TaNP`. (default: :obj:`0`)
        **options (optional): See :class:`~tanp.config.AttentiveConfig`.
    """

    Config = AttentiveConfig

    def __init__(
        self, statistics: ItemStatistics, num_users: int = 0, **options: Any
    ) -> None:
        options['num_features'] = statistics.num_popularity + statistics.vector.size(-1)
        super().__init__(statistics.num_items, num_users, **options)
        self.statistics = statistics
        config = self.config
        width = self.in_channels
        self.attention = self.gp = None
        if config.attention_heads:
            sizes = width, statistics.num_kernels, config.attention_heads
            self.attention = SupportAttention(*sizes, config.dropout)
            width += self.attention.out_channels
        if config.num_gps:
            self.gp = SupportGP(statistics.num_psd, config.num_gps)
            width += config.num_gps
        self.lin_popularity = nn.Linear(statistics.num_popularity, 1)
        self.decoder = self.make_decoder(width, NUM_SUMMARY)

    def with_nodes(self, side: str, attributes: TokenBags) -> AttentiveTaNP:
        made = super().with_nodes(side, attributes)
        if side == 'item':
            known = made.item.attributes.multi_hot()
            made.statistics = self.statistics.with_unseen(known)
        return made

    def forward(self, batch: EpisodeBatch, z: Tensor | None = None) -> TaskOutput:
        batch = batch.cleared(self.decoder.lin_out.weight.dtype)
        code = self.encode(batch)
        query = self.statistics.features(batch.user, batch.query_item)
        # size = [B, Q, F]
        x = self.embed(query, code.user)

        posterior = None
        if self.latent is not None and z is None:
            z = code.prior.mu
            if self.training:
                residual = self.residual(batch.query_label, query.mean + code.level)
                masks = batch.support_mask, batch.query_mask
                parts = (code.x, x), (code.residual, residual), masks
                posterior = self.latent(*(torch.cat(pair, dim=1) for pair in parts))
                z = posterior.sample()
        context = code.summary if z is None else torch.cat([z, code.summary], dim=-1)

        read = [x]
        if self.attention is not None or self.gp is not None:
            # size = [B, S, E, Q]
            kernel = self.statistics.kernels(query, code.items)
            heads = self.attention and self.attention.encode_query(x)
            read.append(self.read(heads, code, kernel).mT)
        score = self.decoder(torch.cat(read, dim=-1), code.task, context)
        score = score + self.base(query) + code.level
        label, mask = batch.query_label, batch.query_mask
        return TaskOutput(score, label, mask, code.prior, posterior, code.assignment)

    def encode(self, batch: EpisodeBatch) -> AttentiveCode:
        """Encodes the supports of a batch, without reading its queries."""
        support = self.statistics.features(batch.user, batch.support_item)
        user = self.embed_user(batch.user)
        label, mask = batch.support_label, batch.support_mask
        level = label.new_zeros(len(label), 1)
        if self.likelihood == 'gaussian':
            excess = ((label - support.mean) * mask).sum(1, keepdim=True)
            level = excess / (mask.to(label).sum(1, keepdim=True) + MEAN_DAMPING)
        residual = self.residual(label, support.mean + level) * mask
        x = self.embed(support, user)
        prior = None if self.latent is None else self.latent(x, residual, mask)

        signs = mask & (residual <= 0), mask & (residual > 0)
        pools = signs if self.config.pool_by_sign else [mask]
        hidden = self.task_encoder.encode(x, residual)
        task = torch.cat([self.task_encoder.pool(hidden, p) for p in pools], dim=-1)
        assignment = None
        if self.memory is not None:
            task, assignment = self.memory(task)

        # The counts of positive and of other residuals, on several scales.
        other, positive = (sign.sum(1, keepdim=True).to(x) for sign in signs)
        count = torch.cat([positive, other], dim=-1)
        balance = (positive - other) / (count.sum(-1, keepdim=True) + 2)
        summary = torch.cat([count / 10, count.log1p(), balance], dim=-1)
        task = torch.cat([task, summary], dim=-1)

        encoded = dual = None
        if self.attention is not None:
            encoded = self.attention.encode(x, residual, mask)
        if self.gp is not None:
            gram = self.statistics.kernels(support, support)
            # Items without interactions have kernels as queries but not as supports.
            # Zero these, because a Gram matrix must be symmetric.
            gram = gram * (gram.transpose(1, 3) != 0)
            dual = self.gp.condition(gram, residual, mask)
        parts = x, residual, level, task, summary, encoded, dual, prior, assignment
        return AttentiveCode(support, user, *parts)

    def read(self, query: Tensor | None, code: AttentiveCode, kernel: Tensor) -> Tensor:
        """Reads the supports for each query item, :obj:`[B, F_read, Q]`.

        Takes attention queries, :obj:`[B, heads, D, Q]`, and kernels of support and
        query items, :obj:`[B, S, E, Q]`.
        """
        parts = []
        if code.support is not None:
            parts += self.attention.read(query, code.support, kernel)
        if code.dual is not None:
            parts.append(self.gp.read(*code.dual, kernel))
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def catalogue(self) -> Catalogue | None:
        """Precomputes item results for :meth:`score_all`, or None if not useful."""
        if self.attention is None and self.gp is None:
            return None
        lin = self.decoder.lins[0]
        every = torch.arange(self.num_items, device=lin.weight.device)[None]
        items = self.statistics.features(every.new_full((1,), -1), every)
        x = self.embed(items, lin.weight.new_empty(1, 0))[0]
        hidden = F.linear(x, lin.weight[:, : x.size(-1)], lin.bias)
        query = None
        if self.attention is not None:
            lin = self.attention.lin_query
            query = F.linear(x, lin.weight[:, : x.size(-1)], lin.bias)[None]
            query = self.attention.split_heads(query).mT.contiguous()
        return Catalogue(items, hidden, query)

    @torch.no_grad()
    def score_all(
        self, batch: EpisodeBatch, catalogue: Catalogue | None = None
    ) -> Tensor:
        """See :meth:`NeuralProcess.score_all`.

        With a catalogue, users without interactions in the item statistics need no full
        forward pass. It may come from the same model for other users.
        """
        size = len(batch.user)
        is_known = self.statistics.has_interactions(batch.user).any()
        if catalogue is None or (is_known and size == 1):
            return super().score_all(batch)
        if is_known:
            alone = (_rows(batch, slice(n, n + 1)) for n in range(size))
            return torch.cat([self.score_all(one, catalogue) for one in alone])
        batch = batch.cleared(catalogue.hidden.dtype)
        codes = self.encode(batch)
        # Column blocks of the first layer: item features, user features, features that
        # are read from the support per item, and features shared by a task's items.
        width = self.in_channels - codes.user.size(-1)
        bounds = [width, self.in_channels, self.decoder.in_channels]
        weights = self.decoder.lins[0].weight.tensor_split(bounds, dim=-1)
        z = [] if codes.prior is None else [codes.prior.mu]
        shared = F.linear(torch.cat([*z, codes.summary], dim=-1), weights[3])
        shared = shared + F.linear(codes.user, weights[1])
        tasks = codes, self.decoder.modulate(codes.task, shared)
        scores = []
        kernels = self.statistics.catalogue_kernels(codes.items, catalogue.items)
        # One task at a time, so that its tensors fit into the cache.
        for task, kernel in enumerate(kernels):
            code, ((gamma, beta), *others) = _rows(tasks, slice(task, task + 1))
            query = catalogue.query
            if query is not None and code.user.size(-1):
                own = F.linear(code.user, self.attention.lin_query.weight[:, width:])
                query = query + self.attention.split_heads(own[:, None]).mT
            # size = [1, I, C]
            hidden = torch.addcmul(beta, catalogue.hidden, gamma)
            read = self.read(query, code, kernel)
            hidden.baddbmm_(read.mT, gamma * weights[2].mT)
            scores.append(self.decoder.decode(hidden.relu_(), others))
        return torch.cat(scores) + self.base(catalogue.items) + codes.level

    def residual(self, label: Tensor, expected: Tensor) -> Tensor:
        """Residuals: ratings minus expected labels, labels as 1 or -1, or weights."""
        if self.likelihood == 'gaussian':
            return label - expected
        if self.likelihood == 'implicit':
            return label.where(label > 0, -torch.ones_like(label))
        return 2 * label - 1

    def base(self, items: ItemFeatures) -> Tensor:
        """Scores of items without any support, :obj:`[B, n]`."""
        score = self.lin_popularity(items.popularity).squeeze(-1)
        return score + items.mean if self.likelihood == 'gaussian' else score

    def embed(self, item: ItemFeatures, user: Tensor) -> Tensor:
        """Features of items :obj:`[B, n]` and of their users, :obj:`[B, n, F]`."""
        embedded = [] if self.item is None else [self.item(item.item)]
        return join([*embedded, item.vector, item.popularity], user)

    def _apply(self, fn: Callable, recurse: bool = True) -> AttentiveTaNP:
        # Statistics are not buffers: code that averages, broadcasts or checkpoints a
        # model would copy them, although they never change.
        super()._apply(fn, recurse)
        self.statistics = self.statistics.apply(fn)
        return self


def _rows(value: Any, rows: slice) -> Any:
    """Some rows of all tensors in nested tuples."""
    if value is None or isinstance(value, Tensor):
        return value if value is None else value[rows]
    made = [_rows(part, rows) for part in value]
    return type(value)(*made) if hasattr(value, '_fields') else made
