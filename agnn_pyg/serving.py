"""A fit together with the users and items that came after it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from tqdm import tqdm

from agnn_pyg.base.node_table import read_new_nodes
from agnn_pyg.base.vocabulary import Vocabulary
from agnn_pyg.fitting import SIDES, Fitted, serving_options
from agnn_pyg.old.cold_nodes import attach, attached_edges, widened
from agnn_pyg.old.grid import embed, rate_grid
from agnn_pyg.old.model import AGNN

if TYPE_CHECKING:
    from agnn_pyg.base.encoder import TokenBags
    from agnn_pyg.recommender import AGNNRecommenderConfig

Filter = Callable[[Hashable, np.ndarray], np.ndarray]


class Serving(NamedTuple):
    """Ids, graph and model with room for all that is to be rated.

    Attributes:
        ids: Ids by side, those of the fit first.
        node: By side the graph's node of each id. New ones of equal attributes are
            one node: they are rated alike.
        graph: The rating graph, with new nodes attached.
        model: The model, with room for them.
    """

    ids: dict[str, Vocabulary]
    node: dict[str, np.ndarray]
    graph: HeteroData
    model: AGNN

    def nodes(self, index: Tensor) -> Tensor:
        """The graph's nodes of pairs of positions among ids, :obj:`[2, R]`."""
        parts = zip(SIDES, index.numpy(), strict=True)
        return torch.from_numpy(np.stack([self.node[s][rows] for s, rows in parts]))


def serve(
    config: AGNNRecommenderConfig,
    fitted: Fitted,
    users: pd.DataFrame | None,
    items: pd.DataFrame | None,
) -> Serving:
    """Attaches the rows of two tables that the fit does not know."""
    ids, node, graph, messages = {}, {}, fitted.graph, fitted.model.messages
    for side, frame in zip(SIDES, (users, items), strict=True):
        table = fitted.tables[side]
        ids[side], node[side] = table.ids, np.arange(len(table.ids))
        encoders = [table.embedded, table.compared]
        new = read_new_nodes(frame, side, config, table.ids, encoders)
        if new is None:
            continue
        values, (attributes, profiles) = new
        first, group = _distinct(attributes, profiles)
        attributes, profiles = attributes.take(first), profiles.take(first)
        edges = attached_edges(
            profiles,
            table.profiles,
            pool=config.candidate_fraction,
            max_pool=config.max_candidates,
            seed=config.seed,
        )
        ids[side] = table.ids.append(values)
        node[side] = np.concatenate([node[side], len(table.ids) + group])
        graph = attach(graph, side, attributes, edges)
        if messages is not None:
            messages = messages.attach(side, fitted.relations[side](profiles).x)
    num_nodes = {side: graph[side].num_nodes for side in SIDES}
    return Serving(ids, node, graph, widened(fitted.model, num_nodes, messages))


def _distinct(*bags: TokenBags) -> tuple[np.ndarray, np.ndarray]:
    """The first of each kind of node, and the kind of each node."""
    rows = torch.cat([part for b in bags for part in (b.index, b.weight.double())], 1)
    rows = np.ascontiguousarray(rows.numpy())
    # Compared as bytes, which is many times as fast as number by number.
    rows = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    return first, group


def top_items(
    config: AGNNRecommenderConfig,
    serving: Serving,
    users: np.ndarray,
    items: np.ndarray,
    k: int,
    exclude_seen: bool = True,
    filter: Filter | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best-rated items of each user, best first.

    Args:
        config: The settings of the recommender.
        serving: Who and what is to be rated.
        users: Distinct positions among the ids of users.
        items: Distinct positions of items to choose from.
        k: Items a user.
        exclude_seen: Leave out what a user has rated in the fit.
        filter: See :meth:`AGNNRecommender.recommend`.

    Returns:
        Positions in :obj:`users`, positions in :obj:`items`, and ratings, not
        clamped: fewer than :obj:`k` where fewer are left.
    """
    kinds = [
        _Kinds(serving.node[side][rows], alone=filter is not None)
        for side, rows in zip(SIDES, (users, items), strict=True)
    ]
    sides = embed(
        serving.model,
        serving.graph,
        *(k.node for k in kinds),
        draws=config.num_neighbor_samples,
        **serving_options(config),
    )
    seen = _Seen(serving.graph, *(k.node for k in kinds)) if exclude_seen else None
    found, start = [], 0
    total = len(kinds[0].node)
    with tqdm(total=total, unit='user', disable=not config.progress) as bar:
        for rating in rate_grid(serving.model, *sides):
            rating = rating.cpu()
            if seen is not None:
                rating[seen.pairs(start, start + len(rating))] = -torch.inf
            if filter is not None:
                allowed = _allowed(serving, users[start:][: len(rating)], items, filter)
                rating[~allowed] = -torch.inf
            found.append(_top(rating, k, kinds[1]))
            start += len(rating)
            bar.update(len(rating))
    value, column = (torch.cat(p)[kinds[0].kind] for p in zip(*found, strict=True))
    row, place = (value > -torch.inf).nonzero(as_tuple=True)
    return row.numpy(), column[row, place].numpy(), value[row, place].numpy()


class _Kinds:
    """Nodes that are rated alike, as one.

    Args:
        node: The graph's nodes of who or what is to be rated.
        alone: Keep each to itself, since a filter may tell them apart.
    """

    def __init__(self, node: np.ndarray, alone: bool) -> None:
        found = np.unique(node, return_index=True, return_inverse=True)
        _, first, kind = found
        # In the order in which they come first.
        order = first.argsort()
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        self.kind = torch.from_numpy(np.arange(len(node)) if alone else place[kind])
        self.node = torch.from_numpy(node if alone else node[first[order]])
        self.member = self.kind.argsort(stable=True)
        self.count = self.kind.bincount()
        self.start = self.count.cumsum(0) - self.count


def _top(rating: Tensor, k: int, kinds: _Kinds) -> tuple[Tensor, Tensor]:
    """Of each row the k best of the items that kinds are of, best first.

    Of equals, the first comes first. Where fewer are left, ratings are -inf.
    """
    value, kind = rating.topk(min(k, rating.size(1)))
    # The first k of each kind: more are not asked for.
    place = torch.arange(min(k, int(kinds.count.max())))
    inside = place < kinds.count[kind][:, :, None]
    item = kinds.member[(kinds.start[kind][:, :, None] + place).where(inside, 0)]
    value = value[:, :, None].where(inside, -torch.inf)
    value, item = value.flatten(1), item.flatten(1)
    order = item.argsort(dim=1)
    value, item = value.gather(1, order), item.gather(1, order)
    value, order = value.sort(dim=1, descending=True, stable=True)
    return value[:, :k], item.gather(1, order)[:, :k]


def _allowed(
    serving: Serving, users: np.ndarray, items: np.ndarray, filter: Filter
) -> Tensor:
    candidates = serving.ids['item'].values[items]
    masks = []
    for user in serving.ids['user'].values[users]:
        mask = np.asarray(filter(user, candidates))
        if mask.shape != candidates.shape or mask.dtype != bool:
            raise ValueError(
                f"'filter' must return {len(candidates)} truth values, one an item "
                f'(got {mask.dtype}, {list(mask.shape)} for user {user!r})'
            )
        masks.append(mask)
    return torch.from_numpy(np.stack(masks))


class _Seen:
    """Which of the users have rated which of the items in the fit."""

    def __init__(self, graph: HeteroData, users: Tensor, items: Tensor) -> None:
        position = []
        for side, rows in zip(SIDES, (users, items), strict=True):
            lookup = torch.full((graph[side].num_nodes,), -1)
            lookup[rows] = torch.arange(len(rows))
            position.append(lookup)
        rated = graph['user', 'rates', 'item'].edge_index
        row, column = position[0][rated[0]], position[1][rated[1]]
        keep = (row >= 0) & (column >= 0)
        self.row, order = row[keep].sort()
        self.column = column[keep][order]

    def pairs(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Of the users of a block: their positions in it, and of the items."""
        low, high = torch.searchsorted(self.row, torch.tensor([start, stop]))
        return self.row[low:high] - start, self.column[low:high]
