"""Attribute graphs: proximities, candidate pools, sparse PyG graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.base.randomness import check_seed
from agnn_pyg.graph.proximity import (
    DENSE_NODES,
    candidates,
    check_finite,
    normalize,
    num_candidates,
    proximity,
)
from agnn_pyg.graph.sparse_knn import METHODS, sparse_candidates

if TYPE_CHECKING:
    import scipy.sparse


def attribute_graph(
    attributes: TokenBags | scipy.sparse.csr_matrix,
    ratings: scipy.sparse.csr_matrix | None = None,
    *,
    pool: float = 0.05,
    max_pool: int = 500,
    method: str = 'auto',
    seed: int = 0,
    block_size: int = 1024,
) -> Data:
    r"""Builds the attribute graph of one side (users or items).

    The proximity of two nodes is the cosine of their multi-hot attribute
    vectors plus the cosine of their training-rating vectors, each z-scored
    over the other nodes (AGNN, Section 3.1):

    .. math::
        s_{ij} = z_i(\cos(\mathbf{a}_i, \mathbf{a}_j)) +
        z_i(\cos(\mathbf{r}_i, \mathbf{r}_j))

    The second term is 0 where either node has no rating, so strictly cold
    nodes are placed by their attributes alone. The top :obj:`pool` share of
    the other nodes forms a node's *candidate pool*, stored as edges neighbour
    :math:`\rightarrow` node with weight :math:`s_{ij} - \min_j s_{ij}`, which
    neighbours are later drawn in proportion to. Ties at the edge of a pool are
    broken at random. Candidates of weight 0 are left out: they are no closer
    than the farthest node.

    Up to 10,000 nodes all pairs are compared. Beyond, pools are capped further, at
    five million edges in all or 30 a node, nodes with equal rows are compared only
    once, and :obj:`method` says how. Proximities are the same, but that deviations
    are estimated, with a standard error of some 6 %, and that the farthest node is
    taken to be one that shares nothing. :func:`~agnn_pyg.graph.recall.pool_recall` tells
    what an approximate search has missed.

    Args:
        attributes (TokenBags or scipy.sparse.csr_matrix): Encoded attributes,
            or their multi-hot matrix :obj:`[N, num_tokens]`.
        ratings (scipy.sparse.csr_matrix, optional): *Training* ratings
            :obj:`[N, M]`, one row a node. Without, attributes alone decide.
            (default: :obj:`None`)
        pool (float, optional): The share of the other nodes that forms a
            candidate pool. (default: :obj:`0.05`)
        max_pool (int, optional): The largest candidate pool; a share of a
            million nodes is no neighbourhood. (default: :obj:`500`)
        method (str, optional): :obj:`"dense"` compares all pairs, in time quadratic
            in the number of nodes. :obj:`"exact"` compares those that share
            something, with :obj:`sparse-dot-topn`. :obj:`"approximate"` searches by
            nearest-neighbour descent, with :obj:`pynndescent`, and compares what it
            finds. :obj:`"auto"` takes the fastest: by the number of nodes, of
            unequal ones, and of products that an exact search would take.
            (default: :obj:`"auto"`)
        seed (int, optional): Seed of the tie-breaking, and of what is estimated or
            approximate; an approximate search repeats with as many threads.
            (default: :obj:`0`)
        block_size (int, optional): Rows compared at a time, where all pairs are.
            (default: :obj:`1024`)

    Returns:
        A graph with :obj:`edge_index` (sorted by target), :obj:`edge_weight`
        and :obj:`num_nodes`.

    Raises:
        ValueError: If there are fewer than two nodes, the shapes disagree,
            :obj:`pool`, :obj:`max_pool` or :obj:`seed` is out of range, an attribute
            or a rating is not finite, or the library that a :obj:`method` needs is
            not installed.
    """
    if isinstance(attributes, TokenBags):
        attributes = attributes.multi_hot()
    num_nodes = attributes.shape[0]
    _check(attributes, ratings, method)
    size, seed = num_candidates(num_nodes - 1, pool, max_pool), check_seed('seed', seed)
    dense = method == 'dense' or (method == 'auto' and num_nodes <= DENSE_NODES)
    if dense:
        edges = _dense_pools(attributes, ratings, size, seed, block_size)
    else:
        edges = sparse_candidates(attributes, ratings, size, method, seed)
    source, target, weight = edges
    edge_index = torch.empty(2, len(source), dtype=torch.long)
    edge_index[0], edge_index[1] = torch.from_numpy(source), torch.from_numpy(target)
    return Data(
        edge_index=edge_index,
        edge_weight=torch.from_numpy(weight.astype(np.float32, copy=False)),
        num_nodes=num_nodes,
    )


def _dense_pools(
    attributes: scipy.sparse.csr_matrix,
    ratings: scipy.sparse.csr_matrix | None,
    size: int,
    seed: int,
    block_size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sources, targets and weights of the edges, from all pairs of nodes."""
    num_nodes = attributes.shape[0]
    attributes = normalize(attributes)
    ratings = None if ratings is None else normalize(ratings)
    rng = np.random.default_rng(seed)
    edges = []
    for start in range(0, num_nodes, block_size):
        rows = np.arange(start, min(start + block_size, num_nodes))
        weight = proximity(rows, attributes, ratings)
        edges.append(candidates(rows, weight, size, rng.random(weight.shape)))
    return tuple(np.concatenate(part) for part in zip(*edges, strict=True))


def rating_graph(
    users: TokenBags,
    items: TokenBags,
    rated: Tensor,
    rating: Tensor,
    *,
    user_proximity: TokenBags | None = None,
    item_proximity: TokenBags | None = None,
    preference: bool = True,
    pool: float = 0.05,
    max_pool: int = 500,
    method: str = 'auto',
    seed: int = 0,
) -> HeteroData:
    r"""Puts both attribute graphs and the training ratings into one graph.

    The result holds, for each side :obj:`"user"` and :obj:`"item"`:

    * :obj:`attr` and :obj:`attr_weight`, the encoded attributes;
    * :obj:`cold`, true for nodes without a training rating;
    * the relation :obj:`"similar"`, its :func:`attribute_graph`;
    * the relation :obj:`"alike"`, the same from attributes only: where a
      warm node is treated as if it were cold draws its neighbours from.

    and the relation :obj:`("user", "rates", "item")` with its :obj:`rating`.

    Args:
        users (TokenBags): Encoded attributes of all users.
        items (TokenBags): Encoded attributes of all items.
        rated (Tensor): Training pairs, :obj:`[2, R]`: row numbers of users and
            of items.
        rating (Tensor): Training ratings, :obj:`[R]`.
        user_proximity (TokenBags, optional): Attributes to compare users by.
            (default: those that are embedded, :obj:`users`)
        item_proximity (TokenBags, optional): Likewise for items.
        preference (bool, optional): If :obj:`False`, proximities ignore
            ratings. (default: :obj:`True`)
        pool (float, optional): See :func:`attribute_graph`.
        max_pool (int, optional): See :func:`attribute_graph`.
        method (str, optional): See :func:`attribute_graph`.
        seed (int, optional): Seed of the tie-breaking. (default: :obj:`0`)

    Raises:
        ValueError: If a pair points outside the tables or is repeated, or a
            rating is not finite.
    """
    _check_pairs(rated, rating, users.num_nodes, items.num_nodes)
    matrix = _rating_matrix(rated, rating, users.num_nodes, items.num_nodes)
    graph = HeteroData()
    sides = (
        ('user', users, user_proximity or users, matrix),
        ('item', items, item_proximity or items, matrix.T.tocsr()),
    )
    options = {'pool': pool, 'max_pool': max_pool, 'method': method, 'seed': seed}
    for side, attributes, compared, ratings in sides:
        graph[side].num_nodes = attributes.num_nodes
        graph[side].attr = attributes.index
        graph[side].attr_weight = attributes.weight
        graph[side].cold = torch.from_numpy(np.diff(ratings.indptr) == 0)
        alike = attribute_graph(compared, **options)
        similar = alike
        if preference:
            similar = attribute_graph(compared, ratings, **options)
        for relation, edges in (('similar', similar), ('alike', alike)):
            graph[side, relation, side].edge_index = edges.edge_index
            graph[side, relation, side].edge_weight = edges.edge_weight
    graph['user', 'rates', 'item'].edge_index = rated
    graph['user', 'rates', 'item'].rating = rating
    return graph


def _rating_matrix(
    rated: Tensor, rating: Tensor, num_users: int, num_items: int
) -> scipy.sparse.csr_matrix:
    import scipy.sparse

    pairs = rated.cpu().numpy()
    entries = (rating.detach().double().cpu().numpy(), (pairs[0], pairs[1]))
    return scipy.sparse.csr_matrix(entries, shape=(num_users, num_items))


def _check_pairs(rated: Tensor, rating: Tensor, num_users: int, num_items: int) -> None:
    if rated.dim() != 2 or rated.size(0) != 2 or rated.size(1) != len(rating):
        raise ValueError(
            f"'rated' must have size [2, {len(rating)}], a column a rating "
            f'(got {list(rated.size())})'
        )
    if not len(rating):
        raise ValueError("'rating' is empty; there is nothing to train on")
    for side, index, bound in zip(
        ('user', 'item'), rated, (num_users, num_items), strict=True
    ):
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= bound:
            raise ValueError(
                f"'rated' points to {side} {low if low < 0 else high}, but the "
                f'{side} table has rows 0 to {bound - 1}'
            )
    if not torch.isfinite(rating).all():
        raise ValueError("'rating' holds NaN or infinite values; drop those rows")
    pair = rated[0].long() * num_items + rated[1]
    if len(pair.unique()) < len(pair):
        first = pair.sort().values
        first = int(first[1:][first[1:] == first[:-1]][0])
        raise ValueError(
            f"'rated' lists the pair of user {first // num_items} and item "
            f'{first % num_items} more than once; aggregate repeated ratings first'
        )


def _check(
    attributes: scipy.sparse.csr_matrix,
    ratings: scipy.sparse.csr_matrix | None,
    method: str,
) -> None:
    num_nodes = attributes.shape[0]
    if num_nodes < 2:
        raise ValueError(
            f'A graph of {num_nodes} node(s) has no neighbours to offer; an '
            f'attribute graph needs at least two nodes'
        )
    if method not in METHODS:
        raise ValueError(f"'method' must be one of {METHODS} (got {method!r})")
    if ratings is not None and ratings.shape[0] != num_nodes:
        raise ValueError(
            f"'ratings' must have one row a node: {num_nodes} (got {ratings.shape[0]})"
        )
    check_finite('attributes', attributes)
    if ratings is not None:
        check_finite('ratings', ratings)
