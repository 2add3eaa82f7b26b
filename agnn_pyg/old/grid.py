"""Ratings of all items by many users: nodes are embedded once, not once a pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg.old.inference import evaluating
from agnn_pyg.old.link_loader import rating_loader
from agnn_pyg.old.model import AGNN

# Hidden units are worked off in blocks of so many numbers, which a cache holds.
BLOCK_NUMEL = 2**17


class EmbeddedNodes(NamedTuple):
    """Nodes of one side under D draws of neighbours.

    Attributes:
        embedding: :obj:`[D, N, C]`.
        bias: :obj:`[D, N]`.
        node: Their rows, :obj:`[N]`.
    """

    embedding: Tensor
    bias: Tensor
    node: Tensor


@torch.no_grad()
def embed(
    model: AGNN,
    graph: HeteroData,
    users: Tensor,
    items: Tensor,
    *,
    draws: int = 8,
    batch_size: int = 4096,
    **kwargs,
) -> tuple[EmbeddedNodes, EmbeddedNodes]:
    """Embeds distinct nodes of both sides, under the draws of ``predict``.

    Args:
        model (AGNN): The model; it is left in the mode it came in.
        graph (HeteroData): See :func:`~agnn_pyg.old.graph_build.rating_graph`.
        users (Tensor): Rows of users, :obj:`[U]`.
        items (Tensor): Rows of items, :obj:`[I]`.
        draws (int, optional): Draws of neighbours. (default: :obj:`8`)
        batch_size (int, optional): Nodes at a time. (default: :obj:`4096`)
        **kwargs (optional): Of :func:`~agnn_pyg.old.link_loader.rating_loader`.
    """
    # Pairs that name every node once; the shorter side is repeated.
    size = max(len(users), len(items))
    pairs = torch.stack([_cycled(users, size), _cycled(items, size)])
    loader = rating_loader(graph, pairs, batch_size=batch_size, **kwargs)
    device = next(model.parameters()).device
    tables = [_Table(graph[side].num_nodes) for side in ('user', 'item')]
    found = [[], []]
    with evaluating(model):
        for draw in range(draws):
            loader.set_epoch(draw)
            for batch in loader:
                batch = batch.to(device)
                states = model.encode(batch)
                for table, nodes, state in zip(tables, batch[:2], states, strict=True):
                    table.add(nodes.n_id[: nodes.num_targets], state)
            for table, rows, parts in zip(tables, (users, items), found, strict=True):
                parts.append(table.take(rows.to(device)))
    return tuple(
        EmbeddedNodes(*map(torch.stack, zip(*parts, strict=True)), rows.to(device))
        for parts, rows in zip(found, (users, items), strict=True)
    )


@torch.no_grad()
def rate_grid(
    model: AGNN,
    users: EmbeddedNodes,
    items: EmbeddedNodes,
    block_size: int = 64,
) -> Iterator[Tensor]:
    r"""Rates every item for every user, some users at a time.

    The same numbers as of :func:`~agnn_pyg.old.inference.predict`. The first layer
    of the MLP is applied to nodes, :math:`\mathbf{W} [\mathbf{p} \, \Vert \,
    \mathbf{q}] = \mathbf{W}_p \mathbf{p} + \mathbf{W}_q \mathbf{q}`, so that a pair
    costs one addition, one ReLU and one product a hidden unit.

    Args:
        model (AGNN): The model.
        users (EmbeddedNodes): See :func:`embed`.
        items (EmbeddedNodes): Likewise, under the same draws.
        block_size (int, optional): Users at a time. (default: :obj:`64`)

    Yields:
        Ratings, :obj:`[users of the block, items]`, not clamped.
    """
    draws, num_users, channels = users.embedding.size()
    lin, out = model.lin_hidden, model.lin_out
    first = out if lin is None else lin
    weight_p, weight_q = first.weight.split(channels, dim=1)
    left = users.embedding @ weight_p.t()
    right = torch.nn.functional.linear(items.embedding, weight_q, first.bias)
    messages = model.messages.grid(items.node) if model.message_share else None
    for start in range(0, num_users, block_size):
        block = slice(start, start + block_size)
        total = 0
        for d in range(draws):
            rating = users.embedding[d, block] @ items.embedding[d].t()
            rating += users.bias[d, block, None] + items.bias[d]
            if lin is None:
                rating += left[d, block] + right[d].t()
            else:
                _add_hidden(rating, left[d, block], right[d], out.weight[0])
                rating += out.bias
            total = total + rating
        rating = total / draws + model.bias
        if messages is not None:
            rating = model.mix(rating, messages(users.node[block]))
        yield rating


def _add_hidden(rating: Tensor, left: Tensor, right: Tensor, weight: Tensor) -> None:
    """Adds what the hidden layer makes of each pair to ratings, in place."""
    width = max(1, BLOCK_NUMEL // weight.numel())
    num_items = min(width, len(right))
    num_users = max(1, width // num_items)
    # One buffer for all blocks: memory fresh from the system costs as much again.
    buffer = left.new_empty(num_users * num_items, weight.numel())
    for i in range(0, len(left), num_users):
        p = left[i : i + num_users, None]
        for j in range(0, len(right), num_items):
            q = right[None, j : j + num_items]
            size = len(p), q.size(1)
            hidden = buffer[: size[0] * size[1]]
            torch.add(p, q, out=hidden.view(*size, -1))
            part = hidden.relu_().mv(weight).view(size)
            rating[i : i + num_users, j : j + num_items] += part


class _Table:
    """Embeddings and biases of the nodes of one side, filled batch by batch."""

    def __init__(self, num_nodes: int) -> None:
        self.num_nodes = num_nodes
        self.embedding = self.bias = None

    def add(self, node: Tensor, state) -> None:
        if self.embedding is None:
            size = self.num_nodes, state.embedding.size(1)
            self.embedding = state.embedding.new_zeros(size)
            self.bias = state.bias.new_zeros(self.num_nodes)
        self.embedding[node] = state.embedding
        self.bias[node] = state.bias

    def take(self, node: Tensor) -> tuple[Tensor, Tensor]:
        return self.embedding[node], self.bias[node]


def _cycled(node: Tensor, size: int) -> Tensor:
    return node[torch.arange(size) % len(node)]
