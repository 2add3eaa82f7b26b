"""From a frame of ratings to episodes of training, validation and test users."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from annotated_types import Ge
from pandas.api.types import is_list_like

from agnn_pyg.base.config import PositiveFloat, PositiveInt, Seed, check_argument
from agnn_pyg.base.frames import read_ratings
from agnn_pyg.base.recommender_config import ColumnsConfig
from tanp.episodes import Episodes, offsets

__all__ = ['EpisodeSplit', 'split_episodes']

SEEN = ('warm', 'episodes')


@dataclass(frozen=True, eq=False, repr=False)
class EpisodeSplit:
    """Episodes of three disjoint sets of users.

    Attributes:
        train: Episodes of training users, all of them eligible.
        validation: Episodes of other users, to make choices by.
        test: Episodes of yet other users, to report on.
        warm: All interactions of all training users, those without an episode
            included, in the order of the ratings; all of it is query.
        left_out: For each part, how many users have no episode as they had
            too few or too many interactions, and how many interactions were
            dropped as their item was unseen in training.
    """

    train: Episodes
    validation: Episodes
    test: Episodes
    warm: Episodes
    left_out: Mapping[str, Mapping[str, int]]

    def __repr__(self) -> str:
        parts = ', '.join(
            f'{name}={len(getattr(self, name)):,}'
            for name in ('train', 'validation', 'test', 'warm')
        )
        return f'{type(self).__name__}({parts})'


def split_episodes(
    ratings: pd.DataFrame,
    users: Sequence[Any] | pd.Series,
    items: Sequence[Any] | pd.Series,
    *,
    support_size: int = 20,
    min_size: int | None = None,
    max_size: int = 200,
    fractions: tuple[float, float] = (0.7, 0.1),
    seen: str = 'warm',
    seed: int = 0,
) -> EpisodeSplit:
    r"""Splits users, and each user's interactions into support and query.

    Users are shuffled and cut into three; so are the interactions of each, the
    first :obj:`support_size` being the support. This is the rule, and the very
    stream of random numbers, of TaNP's authors: on their Last.FM tables, with
    users in the order of their list, a seed gives their training and test
    users, in their order, with their support sets and queries (248 and 66
    episodes for seed 2020). Only validation differs: they do not use it, and
    leave items in it that no training user has met.

    Args:
        ratings (DataFrame): Columns ``user``, ``item`` and ``rating``, each pair of
            user and item once.
        users (sequence): Ids of the table of users; their order gives the rows
            and enters the shuffle.
        items (sequence): Ids of the table of items.
        support_size (int, optional): (default: :obj:`20`)
        min_size (int, optional): Interactions a user needs for an episode, at
            least one more than the support. (default: :obj:`support_size + 10`)
        max_size (int, optional): Most interactions of an episode's user.
            (default: :obj:`200`)
        fractions (tuple, optional): Shares of users in training and in
            validation; the rest is test. (default: :obj:`(0.7, 0.1)`)
        seen (str, optional): Validation and test keep an item if a training
            user has met it: any (:obj:`"warm"`, right for a model whose
            training reads :attr:`EpisodeSplit.warm`), or one with an episode
            (:obj:`"episodes"`, right where only these are trained on).
            (default: :obj:`"warm"`)
        seed (int, optional): From 0. (default: :obj:`0`)

    Raises:
        ValueError: If an argument lies outside its range, an id is in no
            table, a pair is repeated, or a part has no user with enough interactions.
    """
    check_argument('support_size', support_size, PositiveInt)
    if min_size is None:
        min_size = support_size + 10
    _check(support_size, min_size, max_size, fractions, seen, seed)
    table = _Table(ratings, users, items)
    stream = random.Random(seed)
    order = list(range(len(users)))
    stream.shuffle(order)
    first, second = (int(len(order) * share) for share in fractions)
    warm = table.rows(order[:first])
    cold = {
        'validation': table.rows(order[first : first + second]),
        'test': table.rows(order[first + second :]),
    }

    def permuted(histories: list[np.ndarray]) -> list[np.ndarray]:
        """Eligible users' interactions, shuffled."""
        sized = [h for h in histories if min_size <= len(h) <= max_size]
        return [h[_permutation(len(h), stream)] for h in sized]

    chosen = {'train': permuted(warm)}
    met = table.meets(chosen['train'] if seen == 'episodes' else warm)
    kept = {part: [h[met[h]] for h in histories] for part, histories in cold.items()}
    # The authors leave unseen items in validation, and their stream runs on from
    # there into test: shuffle as they do, and drop the items only then.
    validation = [h[met[h]] for h in permuted(cold['validation'])]
    chosen['validation'] = [h for h in validation if len(h) >= min_size]
    chosen['test'] = permuted(kept['test'])

    left_out = {
        part: _left_out(before, kept.get(part, before), min_size, max_size)
        for part, before in {'train': warm, **cold}.items()
    }
    for part, histories in chosen.items():
        if not histories:
            raise ValueError(
                f"no {part} user has from 'min_size' to 'max_size' ({min_size} to "
                f"{max_size}) interactions: lower 'support_size' (got "
                f"{support_size}) or 'min_size'; left out: {left_out[part]}"
            )
    episodes = {part: table.episodes(h, support_size) for part, h in chosen.items()}
    return EpisodeSplit(**episodes, warm=table.episodes(warm, 0), left_out=left_out)


class _Table:
    """Ratings as arrays, looked up by user."""

    def __init__(self, ratings: pd.DataFrame, users: Any, items: Any) -> None:
        # Else a query may hold what the support tells.
        label = read_ratings(ratings, 'ratings', ColumnsConfig()).rating
        if not len(label):
            raise ValueError("'ratings' has no rows; there is nothing to split")
        rows = {}
        for key, ids in (('user', users), ('item', items)):
            rows[key] = _index(ids, f'{key}s').get_indexer(pd.Index(ratings[key]))
            unknown = ratings[key][rows[key] < 0].unique()
            if len(unknown):
                raise ValueError(
                    f"'ratings' names {len(unknown):,} {key} id(s) that '{key}s' "
                    f'lacks (first: {unknown[0]!r}): add them or drop their ratings'
                )
        self.user, self.item = rows['user'], rows['item']
        self.label = label.astype(np.float32)
        self._order = np.argsort(self.user, kind='stable')
        self._start = np.searchsorted(self.user[self._order], np.arange(len(users) + 1))

    def rows(self, users: Sequence[int]) -> list[np.ndarray]:
        """Each user's history: positions of ratings, in the order of the frame."""
        start, order = self._start, self._order
        return [order[start[user] : start[user + 1]] for user in users]

    def meets(self, histories: list[np.ndarray]) -> np.ndarray:
        """For each rating, whether its item occurs in one of the histories."""
        met = np.zeros(self.item.max() + 1, bool)
        met[self.item[np.concatenate([*histories, np.zeros(0, np.int64)])]] = True
        return met[self.item]

    def episodes(self, histories: list[np.ndarray], num_support: int) -> Episodes:
        histories = [h for h in histories if len(h)]
        row = np.concatenate(histories)
        size = torch.tensor([len(h) for h in histories])
        support = torch.full_like(size, num_support)
        return Episodes(
            user=torch.from_numpy(self.user[[h[0] for h in histories]]).long(),
            ptr=offsets(size),
            item=torch.from_numpy(self.item[row]).long(),
            label=torch.from_numpy(self.label[row]),
            num_support=support,
            query_start=support,
        )


def _index(ids: Any, name: str) -> pd.Index:
    """Ids of a table, each once."""
    listed = is_list_like(ids, allow_sets=False) and hasattr(ids, '__len__')
    if not listed or isinstance(ids, pd.DataFrame):
        raise ValueError(
            f"'{name}' must be a list or a column of ids (got {type(ids).__name__})"
        )
    index = pd.Index(ids)
    if index.has_duplicates:
        repeated = index[index.duplicated()]
        raise ValueError(
            f"'{name}' must hold each id once (got {repeated[0]!r} again, "
            f'{len(repeated):,} repeated in all)'
        )
    return index


def _permutation(size: int, stream: random.Random) -> list[int]:
    index = list(range(size))
    stream.shuffle(index)
    return index


def _left_out(
    before: Sequence[np.ndarray],
    after: Sequence[np.ndarray],
    min_size: int,
    max_size: int,
) -> dict[str, int]:
    size = np.array([len(row) for row in after])
    return {
        'too_few_interactions': int((size < min_size).sum()),
        'too_many_interactions': int((size > max_size).sum()),
        'unseen_items': sum(map(len, before)) - int(size.sum()),
    }


def _check(
    support_size: int,
    min_size: int,
    max_size: int,
    fractions: tuple[float, float],
    seen: str,
    seed: int,
) -> None:
    # Python's stream of a seed is that of its negative, too.
    check_argument('seed', seed, Seed)
    check_argument('min_size', min_size, Annotated[int, Ge(2)])
    check_argument('max_size', max_size, Annotated[int, Ge(2)])
    if not support_size < min_size <= max_size:
        raise ValueError(
            f"'min_size' must exceed 'support_size' ({support_size}), so that a query "
            f"is left, and not 'max_size' ({max_size}) (got {min_size})"
        )
    check_argument('fractions', fractions, tuple[PositiveFloat, PositiveFloat])
    if sum(fractions) >= 1:
        raise ValueError(
            f"'fractions' must leave some users for the test, with a sum below 1 (got "
            f'{fractions})'
        )
    check_argument('seen', seen, Literal[SEEN])
