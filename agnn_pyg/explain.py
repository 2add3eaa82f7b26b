"""Explanations of predictions: contributions of attributes, ratings and neighbors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from agnn_pyg.base.cells import CONSTANT
from agnn_pyg.base.nodes import with_titles
from agnn_pyg.base.vocabulary import read_one
from agnn_pyg.kernel.scenarios import KernelExplanation
from agnn_pyg.rating_data import SIDES

if TYPE_CHECKING:
    from agnn_pyg.fitted import Fitted

# Rows of each part that a printed explanation shows.
SHOWN = 8
# Maximum length of a value in the name of a term: texts may be long.
MAX_VALUE = 60
# Contributions that round to zero are not shown.
SMALL = 0.005
# The term that is equal for all pairs.
EVERY_PAIR = 'all users and items'
# The term of the matrix factorization.
FACTORIZATION = 'ratings of this user and of this item (matrix factorization)'
# Names, for users and for items, of kernels that do not compare attributes.
KERNELS = {
    'constant': ('', ''),
    CONSTANT: ('', ''),
    'identity': ('this user', 'this item'),
    'linked': ('users linked to this one', 'items linked to this one'),
    'co-rating': ('users of the same items', 'items of the same users'),
    'residual': ('users with similar ratings', 'items with similar ratings'),
    'factors': ('users of similar taste', 'items of similar appeal'),
}


@dataclass(frozen=True, eq=False)
class Explanation:
    """The explanation of the prediction for a user and an item.

    Attributes:
        user: The id of the user.
        item: The id of the item.
        rating: The predicted rating; None if the model ranks positives.
        score: The prediction before it is clipped to the range of ratings.
        terms: The mean rating and further terms, largest first; the sum is
            :attr:`score`. Terms of the kernel model have the names and values of the
            attributes of both nodes; terms of the network have the names of its parts.
        ratings: The contribution of each training rating to the kernel model, largest
            first: user, item and :obj:`contribution`.
        users: Candidate neighbors of the user in the network: ids and
            :obj:`proximity`, closest first.
        items: Candidate neighbors of the item, in the same form.
    """

    user: Hashable
    item: Hashable
    rating: float | None
    score: float
    terms: dict[str, float]
    ratings: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame

    def __str__(self) -> str:
        # Scores of positives are small fractions.
        digits, small = (4, SMALL / 100) if self.rating is None else (2, SMALL)
        head = f'user {self.user}, item {self.item}: {self.score:.{digits}f}'
        if self.rating is not None and abs(self.score - self.rating) >= SMALL:
            head = f'user {self.user}, item {self.item}: {self.rating:.2f}'
            head += f' (score {self.score:.2f}, clipped to the range of ratings)'
        large = {n: v for n, v in self.terms.items() if abs(v) >= small}
        shown = dict(list(large.items())[: SHOWN + 1])
        lines = [head, *(f'  {v:+.{digits}f}  {name}' for name, v in shown.items())]
        rest = self.score - sum(shown.values())
        if len(self.terms) > len(shown):
            count = len(self.terms) - len(shown)
            lines.append(f'  {rest:+.{digits}f}  {count} smaller terms')
        parts = {
            'training ratings with the largest contributions': self.ratings,
            'neighbors of the user': self.users,
            'neighbors of the item': self.items,
        }
        style = f'{{:.{digits}f}}'.format
        for title, frame in parts.items():
            if len(frame):
                text = frame.head(SHOWN).to_string(index=False, float_format=style)
                lines += [f'{title}:', text]
        return '\n'.join(lines)


def explain_pair(
    serving: Fitted,
    user: Hashable,
    item: Hashable,
    *tables: pd.DataFrame | Sequence | None,
) -> Explanation:
    """Explains the score of a pair of ids; titles come from the tables."""
    config = serving.config
    columns = config.user, config.item
    nodes = tuple(
        read_one(
            end, s, c, serving.ids[s], f"pass a new one in a table '{s}s' (user first)"
        )
        for end, s, c in zip((user, item), SIDES, columns, strict=True)
    )
    scale = None if config.rating is None else serving.scale
    unit, center = (1.0, 0.0) if scale is None else (scale.unit, scale.center)
    terms, contribution, neighbors = _weighted_parts(serving, nodes)
    mean = terms.pop('mean rating', 0.0) + terms.pop('network: mean rating', 0.0)
    order = sorted(terms, key=lambda name: -abs(terms[name]))
    terms = {name: unit * terms[name] for name in order if terms[name]}
    if scale is not None:
        terms = {'mean rating': unit * mean + center, **terms}
    score = float(sum(terms.values()))
    rating = None if scale is None else float(np.clip(score, scale.low, scale.high))
    frames = [_ratings(unit * contribution, serving, columns)]
    for side, column in zip(SIDES, columns, strict=True):
        node, proximity = (part.numpy() for part in neighbors[side])
        ids = serving.ids[side].values[node]
        frames.append(pd.DataFrame({column: ids, 'proximity': proximity}))
    titled = dict(zip(columns, tables, strict=True))
    frames = (with_titles(frame, titled) for frame in frames)
    return Explanation(user, item, rating, score, terms, *frames)


def _weighted_parts(
    serving: Fitted, nodes: tuple[int, int]
) -> tuple[dict[str, float], Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """Terms, contributions and neighbors, weighted by the blend of both models."""
    blend = serving.scorer
    weights = blend.weights(*nodes)
    terms: dict[str, float] = defaultdict(float)
    contribution = torch.empty(0)
    neighbors = dict.fromkeys(SIDES, (torch.empty(0).long(), torch.empty(0)))
    slopes = {}
    for name, scale in blend.scales(*map(torch.tensor, nodes)).items():
        slopes[name], shift = (weights[name] * float(part) for part in scale)
        terms[EVERY_PAIR] += shift
    if blend.network is not None:
        parts, neighbors = blend.network.explain(*nodes)
        for name, value in parts.items():
            terms[f'network: {name}'] = slopes['network'] * value
    if weights.get('kernel'):
        kernel = blend.kernel.explain(*nodes)
        contribution = slopes['kernel'] * kernel.contributions
        terms['mean rating'] = slopes['kernel'] * kernel.mean
        terms[FACTORIZATION] = slopes['kernel'] * kernel.factors
        values = {s: serving.values(s, n) for s, n in zip(SIDES, nodes, strict=True)}
        for name, value in kernel_terms(kernel, values).items():
            terms[name] += slopes['kernel'] * value
    return terms, contribution, neighbors


def kernel_terms(
    kernel: KernelExplanation, values: Mapping[str, Mapping[str, str]]
) -> dict[str, float]:
    """Contributions of kernel components by the attributes that they compare."""
    terms: dict[str, float] = defaultdict(float)
    for (row, column), value in np.ndenumerate(kernel.components.numpy()):
        if value:
            user = _label(kernel.user_kernels[row], 0, values['user'])
            item = _label(kernel.item_kernels[column], 1, values['item'])
            name = ', '.join(filter(None, (user, item))) or EVERY_PAIR
            terms[name] += float(value)
    return terms


def _label(kernel: str, side: int, values: Mapping[str, str]) -> str:
    """The attributes that a kernel compares, with the values of the node."""
    if kernel in KERNELS:
        return KERNELS[kernel][side]
    columns = dict.fromkeys(kernel.split(' × '))
    values = {c: shorten(values.get(c, '?'), MAX_VALUE) for c in columns}
    return ' and '.join(f'{column} = {value}' for column, value in values.items())


def _ratings(
    contribution: Tensor, serving: Fitted, columns: Sequence[str]
) -> pd.DataFrame:
    order = contribution.abs().argsort(descending=True, stable=True)
    order = order[contribution[order] != 0]
    frame = {
        column: serving.ids[side].values[row[order].numpy()]
        for side, column, row in zip(SIDES, columns, serving.rated, strict=True)
    }
    return pd.DataFrame({**frame, 'contribution': contribution[order].numpy()})
