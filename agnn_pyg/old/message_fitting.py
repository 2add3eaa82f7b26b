"""From ratings and relations to messages for pairs of every pattern."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from agnn_pyg.old.gates import KINDS
from agnn_pyg.old.messages import PATTERNS, SIDES, Messages
from agnn_pyg.old.propagation import RatingPropagation
from agnn_pyg.old.rated_relations import append_rated
from agnn_pyg.old.relations import Relations


def learn_messages(
    users: Relations,
    items: Relations,
    rated: Tensor,
    rating: Tensor,
    *,
    patterns: Sequence[str] = tuple(PATTERNS),
    kinds: Sequence[str] = tuple(KINDS),
    shared: int = 64,
    steps: int = 12,
    folds: int = 5,
    seed: int = 0,
    progress: bool = False,
) -> Messages:
    """Learns gates for each pattern, and settles all ratings by them.

    A step costs nodes times features of users times features of items, and ratings
    times the features of both, for each pattern and fold; see
    :func:`.attribute_relations` for how to have fewer features.

    Args:
        users (Relations): Of all users.
        items (Relations): Of all items.
        rated (Tensor): Training pairs, :obj:`[2, R]`; nodes without any are cold.
        rating (Tensor): Training ratings, :obj:`[R]`.
        patterns (sequence, optional): Which pairs to make messages for.
            (default: all of :obj:`PATTERNS`)
        kinds (sequence, optional): See :class:`~agnn_pyg.RatingPropagation`.
        shared (int, optional): See there. (default: :obj:`64`)
        steps (int, optional): See :meth:`RatingPropagation.learn`.
            (default: :obj:`12`)
        folds (int, optional): See there. (default: :obj:`5`)
        seed (int, optional): See there. (default: :obj:`0`)
        progress (bool, optional): Show a progress bar. (default: :obj:`False`)

    Raises:
        ValueError: If a pattern or a kind is unknown.
    """
    unknown = [name for name in patterns if name not in PATTERNS]
    if unknown or not len(patterns):
        raise ValueError(
            f"'patterns' must be of {tuple(PATTERNS)}, one at least (got {patterns!r})"
        )
    cold, row, warm = [], [], []
    for index, relations in zip(rated, (users, items), strict=True):
        is_cold = torch.ones(len(relations.x), dtype=torch.bool, device=index.device)
        is_cold[index] = False
        cold.append(is_cold)
        row.append(((~is_cold).cumsum(0) - 1)[index])
        warm.append(relations._replace(x=relations.x[~is_cold]))
    pairs, parts = torch.stack(row), {}
    for name in tqdm(patterns, 'messages', disable=not progress, unit='pattern'):
        pattern = PATTERNS[name]
        # Cold nodes of the table are no other than those that come later.
        propagation = RatingPropagation(*warm, tuple(kinds), shared, pattern)
        propagation = propagation.to(rating)
        propagation.learn(pairs, rating, steps, folds=folds, seed=seed)
        propagation.fit(pairs, rating)
        x = [r.x[is_cold] for r, is_cold in zip((users, items), cold, strict=True)]
        parts[name] = _rows(propagation, pattern, x)
        parts[name] |= {'gate': propagation.gate, 'value': propagation.value}
    sides = {}
    rated_alike = append_rated(*warm, pairs, rating, (shared, shared))
    for k, (side, relations) in enumerate(zip(SIDES, (users, items), strict=True)):
        sides[side] = {
            'cold': cold[k],
            'x': relations.x,
            'relation': relations.relation,
        }
        made = rated_alike[k].x[:, relations.x.size(1) :]
        sides[side]['shared'] = made.new_zeros(len(relations.x), made.size(1))
        sides[side]['shared'][~cold[k]] = made
    return Messages(rating.mean(), sides, parts)


def _rows(
    propagation: RatingPropagation, pattern: tuple[bool, bool], x: Sequence[Tensor]
) -> dict[str, Tensor]:
    """What pairs of a pattern ask of a propagation, in rows as short as can be.

    Args:
        propagation: Fitted on the nodes with ratings.
        pattern: Whether users, and whether items, are cold.
        x: Features of cold users and of cold items.
    """
    rows = [propagation.user_state, propagation.item_state]
    maps = propagation.cold_maps()
    if all(pattern):
        # One matrix between the features of both, in two parts of its own rank.
        left, value, right = torch.linalg.svd((maps[0] @ maps[1].t()).double())
        value = value[value > 1e-7 * value[:1]].sqrt()
        rank = len(value)
        maps = left[:, :rank] * value, right[:rank].t() * value
        maps = [part.to(rows[0]) for part in maps]
    elif any(pattern):
        # The warm side's states as cold features read them.
        k = pattern.index(True)
        rows[1 - k] = rows[1 - k] @ maps[k].t()
        maps = [torch.eye(len(maps[k])).to(rows[0])] * 2
    made = {}
    for k, side in enumerate(SIDES):
        if pattern[k]:
            made[f'{side}_map'] = maps[k]
        made[side] = x[k] @ maps[k] if pattern[k] else rows[k]
    return made
