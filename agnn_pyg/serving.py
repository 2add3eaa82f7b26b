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

from agnn_pyg.attach import attach, attached_edges, widened
from agnn_pyg.fitting import SIDES, Fitted, serving_options
from agnn_pyg.grid import embed, rate_grid
from agnn_pyg.model import AGNN
from agnn_pyg.tables.ids import Ids

if TYPE_CHECKING:
    from agnn_pyg.recommender import AGNNRecommender

Filter = Callable[[Hashable, np.ndarray], np.ndarray]


class Serving(NamedTuple):
    """Ids, graph and model with room for all that is to be rated.

    Attributes:
        ids: Ids by side, those of the fit first.
        graph: The rating graph, with new nodes attached.
        model: The model, with room for them.
    """

    ids: dict[str, Ids]
    graph: HeteroData
    model: AGNN


def serve(
    settings: AGNNRecommender,
    fitted: Fitted,
    users: pd.DataFrame | None,
    items: pd.DataFrame | None,
) -> Serving:
    """Attaches the rows of two tables that the fit does not know."""
    ids, graph, messages = {}, fitted.graph, fitted.model.messages
    for side, frame in zip(SIDES, (users, items), strict=True):
        table = fitted.tables[side]
        ids[side] = table.ids
        new = table.unknown(frame)
        if new is None:
            continue
        values, attributes, profiles = table.encode(new)
        edges = attached_edges(
            profiles,
            table.profiles,
            pool=settings.pool,
            max_pool=settings.max_pool,
            seed=settings.seed,
        )
        ids[side] = table.ids.append(values)
        graph = attach(graph, side, attributes, edges)
        if messages is not None:
            messages = messages.attach(side, fitted.relations[side](profiles).x)
    num_nodes = {side: graph[side].num_nodes for side in SIDES}
    return Serving(ids, graph, widened(fitted.model, num_nodes, messages))


def top_items(
    settings: AGNNRecommender,
    serving: Serving,
    users: np.ndarray,
    items: np.ndarray,
    k: int,
    exclude_seen: bool = True,
    filter: Filter | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best-rated items of each user, best first.

    Args:
        settings: Of the recommender.
        serving: Who and what is to be rated.
        users: Distinct rows of users.
        items: Distinct rows of items to choose from.
        k: Items a user.
        exclude_seen: Leave out what a user has rated in the fit.
        filter: See :meth:`AGNNRecommender.recommend`.

    Returns:
        Positions in :obj:`users`, positions in :obj:`items`, and ratings, not
        clamped: fewer than :obj:`k` where fewer are left.
    """
    sides = embed(
        serving.model,
        serving.graph,
        torch.from_numpy(users),
        torch.from_numpy(items),
        draws=settings.draws,
        **serving_options(settings),
    )
    seen = _Seen(serving.graph, users, items) if exclude_seen else None
    k = min(k, len(items))
    found, start = [], 0
    with tqdm(total=len(users), unit='user', disable=not settings.progress) as bar:
        for rating in rate_grid(serving.model, *sides):
            rating = rating.cpu()
            if seen is not None:
                rating[seen.pairs(start, start + len(rating))] = -torch.inf
            if filter is not None:
                allowed = _allowed(serving, users[start:][: len(rating)], items, filter)
                rating[~allowed] = -torch.inf
            value, column = _top(rating, k)
            row = torch.arange(start, start + len(rating))[:, None].expand_as(column)
            keep = value > -torch.inf
            found.append((row[keep], column[keep], value[keep]))
            start += len(rating)
            bar.update(len(rating))
    return tuple(torch.cat(part).numpy() for part in zip(*found, strict=True))


def _top(rating: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, best first; of equals, the first comes first."""
    value, column = rating.topk(k)
    order = column.sort(dim=1)
    value, column = value.gather(1, order.indices), order.values
    value, order = value.sort(dim=1, descending=True, stable=True)
    return value, column.gather(1, order)


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
        masks.append(torch.from_numpy(mask))
    return torch.stack(masks)


class _Seen:
    """Which of the users have rated which of the items in the fit."""

    def __init__(self, graph: HeteroData, users: np.ndarray, items: np.ndarray) -> None:
        position = []
        for side, rows in zip(SIDES, (users, items), strict=True):
            lookup = torch.full((graph[side].num_nodes,), -1)
            lookup[torch.from_numpy(rows)] = torch.arange(len(rows))
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
