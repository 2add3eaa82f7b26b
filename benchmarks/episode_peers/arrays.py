"""Episodes as the sparse matrices and pairs that peers count in."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from tanp import Episodes
from tanp.episodes import ragged

Array = np.ndarray


class Part(NamedTuple):
    """The support or the query of all tasks, one interaction after the other."""

    task: Array
    item: Array
    label: Array


def support(episodes: Episodes) -> Part:
    """All support interactions."""
    return _part(episodes, episodes.support_index(), episodes.num_support)


def query(episodes: Episodes) -> Part:
    """All query interactions, in the order that predictions have."""
    return _part(episodes, episodes.query_index(), episodes.num_query)


def _part(episodes: Episodes, index: torch.Tensor, count: torch.Tensor) -> Part:
    task = torch.repeat_interleave(torch.arange(len(episodes)), count)
    label = episodes.label[index].double()
    return Part(task.numpy(), episodes.item[index].numpy(), label.numpy())


def matrix(part: Part, value: Array, shape: tuple[int, int]) -> sp.csr_array:
    """One value for each interaction of a part, :obj:`[tasks, items]`.

    Where the value is 0, nothing is stored.
    """
    made = sp.csr_array((value, (part.task, part.item)), shape=shape)
    made.eliminate_zeros()
    return made


def pairs(episodes: Episodes) -> tuple[Array, Array]:
    """Every pair of a query and a support interaction of the same task.

    Returns:
        Positions in the query part and in the support part, each of shape
        :obj:`[pairs]`; a query interaction's pairs lie together.
    """
    count = episodes.num_support.repeat_interleave(episodes.num_query)
    start = episodes.num_support.cumsum(0) - episodes.num_support
    first = start.repeat_interleave(episodes.num_query)
    row = torch.repeat_interleave(count)
    return row.numpy(), ragged(first, count).numpy()


def dealt(episodes: Episodes, size: int, seed: int) -> Episodes:
    """Each task's interactions in random order, the first as its support.

    Args:
        episodes: Tasks of more than :obj:`size` interactions.
        size: How many go to the support; the rest is the query.
        seed: Of the order.
    """
    task = torch.repeat_interleave(episodes.size).numpy()
    keys = np.random.default_rng(seed).random(len(task))
    order = torch.from_numpy(np.lexsort((keys, task)))
    count = torch.full_like(episodes.num_support, size)
    return dataclasses.replace(
        episodes,
        item=episodes.item[order],
        label=episodes.label[order],
        num_support=count,
        query_start=count,
    )
