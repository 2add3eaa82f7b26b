"""New nodes for an existing rating graph, and for the model trained on it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.base.randomness import check_seed, uniform
from agnn_pyg.graph.proximity import (
    candidates,
    check_finite,
    normalize,
    num_candidates,
    proximity_to,
)

if TYPE_CHECKING:
    import scipy.sparse

    from agnn_pyg.old.messages import Messages
    from agnn_pyg.old.model import AGNN

# Proximities are compared in blocks of at most so many entries.
BLOCK_ENTRIES = 2**21


def attached_edges(
    new: TokenBags | scipy.sparse.csr_matrix,
    attributes: TokenBags | scipy.sparse.csr_matrix,
    *,
    pool: float = 0.05,
    max_pool: int = 500,
    seed: int = 0,
) -> Data:
    r"""The edges from the nodes of an attribute graph to new, cold nodes.

    A new node gets the candidates that :func:`~agnn_pyg.old.graph_build.attribute_graph`
    would give it were it built anew with this one node more and no rating of it.
    New nodes are compared with the nodes of the graph and not with each other,
    and pools of the graph stay as they are: so what is predicted for a new node
    does not depend on which others came with it, and what is predicted for all
    others does not change.

    Args:
        new (TokenBags or scipy.sparse.csr_matrix): Encoded attributes of the
            new nodes, or their multi-hot matrix :obj:`[M, num_tokens]`.
        attributes (TokenBags or scipy.sparse.csr_matrix): Those that the graph
            was built from, by the same vocabulary, :obj:`[N, num_tokens]`.
        pool (float, optional): See :func:`~agnn_pyg.old.graph_build.attribute_graph`.
        max_pool (int, optional): See there.
        seed (int, optional): Seed of the tie-breaking. (default: :obj:`0`)

    Returns:
        A graph of N + M nodes with :obj:`edge_index` (sorted by target, the
        first of which is N), :obj:`edge_weight` and :obj:`edge_counter`, the
        source of each edge: two nodes of equal pools draw equal neighbours.

    Raises:
        ValueError: If the vocabularies differ, an attribute is not finite, there is no
            node to attach to, or :obj:`pool`, :obj:`max_pool` or :obj:`seed` is out of
            range.
    """
    new, attributes = _matrix('new', new), _matrix('attributes', attributes)
    if new.shape[1] != attributes.shape[1]:
        raise ValueError(
            f"'new' must be encoded by the vocabulary of 'attributes', of "
            f'{attributes.shape[1]} tokens (got {new.shape[1]})'
        )
    num_nodes, num_new = attributes.shape[0], new.shape[0]
    if not num_nodes:
        raise ValueError("'attributes' holds no nodes, so new ones have no neighbours")
    size, seed = num_candidates(num_nodes, pool, max_pool), check_seed('seed', seed)
    # The lot falls on a node, whichever new one it is drawn for.
    lot = uniform(torch.arange(num_nodes), seed).numpy()
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    step = max(1, BLOCK_ENTRIES // num_nodes)
    for start in range(0, num_new, step):
        weight = proximity_to(new[start : start + step], attributes)
        rows = np.arange(start, start + len(weight)) + num_nodes
        tie_break = np.broadcast_to(lot, weight.shape)
        parts.append(candidates(rows, weight, size, tie_break))
    source, target, weight = (np.concatenate(p) for p in zip(*parts, strict=True))
    return Data(
        edge_index=torch.from_numpy(np.stack([source, target])),
        edge_weight=torch.from_numpy(weight.astype(np.float32)),
        edge_counter=torch.from_numpy(source),
        num_nodes=num_nodes + num_new,
    )


def attach(
    graph: HeteroData,
    side: str,
    attributes: TokenBags,
    edges: Data,
) -> HeteroData:
    r"""A rating graph with more nodes on one side; the given one stays as it is.

    Args:
        graph (HeteroData): See :func:`~agnn_pyg.old.graph_build.rating_graph`.
        side (str): :obj:`"user"` or :obj:`"item"`.
        attributes (TokenBags): The embedded attributes of the new nodes.
        edges (Data): Their edges, see :func:`attached_edges`.

    Raises:
        ValueError: If attributes and edges are not of as many nodes, or nodes of
            the graph have something that new ones lack.
    """
    num_old, num_new = graph[side].num_nodes, attributes.num_nodes
    if edges.num_nodes != num_old + num_new:
        raise ValueError(
            f"'edges' must be of {num_old} {side}s and {num_new} new ones (got "
            f'{edges.num_nodes} nodes)'
        )
    _check_known(graph, side)
    graph = copy.copy(graph)
    store = graph[side]
    store.num_nodes = num_old + num_new
    width = max(store.attr.size(1), attributes.index.size(1))
    store.attr = _stacked(store.attr, attributes.index, width)
    store.attr_weight = _stacked(store.attr_weight, attributes.weight, width)
    store.cold = F.pad(store.cold, (0, num_new), value=True)
    for relation in ('similar', 'alike'):
        store = graph[side, relation, side]
        counter = store.get('edge_counter')
        if counter is None:
            counter = torch.arange(store.edge_index.size(1))
        # Beyond the numbers of the graph's own edges, which are positions.
        new = edges.edge_counter + graph[side, relation, side].edge_index.size(1)
        store.edge_counter = torch.cat([counter, new])
        store.edge_index = torch.cat([store.edge_index, edges.edge_index], dim=1)
        store.edge_weight = torch.cat([store.edge_weight, edges.edge_weight])
    return graph


def widened(
    model: AGNN, num_nodes: Mapping[str, int], messages: Messages | None = None
) -> AGNN:
    """A copy of a model that has room for nodes which it was not trained on.

    Free parameters of such nodes are NaN: they must be cold, and so never read.

    Args:
        model (AGNN): A trained model; returned as it is if there is room.
        num_nodes (mapping): Nodes of each side.
        messages (Messages, optional): Those of the model with the new nodes
            attached, if it mixes any in; see :meth:`Messages.attach
            <agnn_pyg.old.messages.Messages.attach>`.

    Raises:
        ValueError: If the model mixes in propagated ratings, and :obj:`messages`
            has none for nodes that came later.
    """
    room = {side: getattr(model, side).free.size(0) for side in num_nodes}
    if all(room[side] >= count for side, count in num_nodes.items()):
        return model
    if model.message_share and (messages is None or messages.num_nodes != num_nodes):
        found = 'none' if messages is None else f'those of {messages.num_nodes}'
        raise ValueError(
            f"'model' mixes in messages of ratings, so 'messages' must be of the new "
            f'nodes, too, {dict(num_nodes)} (got {found})'
        )
    model = copy.deepcopy(model)
    model.messages = messages
    for side, count in num_nodes.items():
        encoder = getattr(model, side)
        free = F.pad(encoder.free.detach(), (0, 0, 0, count - room[side]), value=np.nan)
        encoder.free = torch.nn.Parameter(free, requires_grad=False)
    return model


def _check_known(graph: HeteroData, side: str) -> None:
    """What is not known here cannot be given to new nodes, and must not go short."""
    unknown = set(graph[side].keys()) - {'num_nodes', 'attr', 'attr_weight', 'cold'}
    if unknown:
        raise ValueError(
            f"'graph' holds '{min(unknown)}' of {side}s, which new ones lack; attach "
            f'them to a graph as rating_graph made it'
        )


def _matrix(
    name: str, attributes: TokenBags | scipy.sparse.csr_matrix
) -> scipy.sparse.csr_matrix:
    if isinstance(attributes, TokenBags):
        attributes = attributes.multi_hot()
    check_finite(name, attributes)
    return normalize(attributes)


def _stacked(old: Tensor, new: Tensor, width: int) -> Tensor:
    """Both bags, one below the other, padded to one width."""
    return torch.cat([F.pad(bag, (0, width - bag.size(1))) for bag in (old, new)])
