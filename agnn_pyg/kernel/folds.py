"""Folds for learning kernel weights without target leakage."""

from __future__ import annotations

import torch
from torch import Tensor

from agnn_pyg.base.randomness import check_seed

SIDES = ('user', 'item')


def cold_start_folds(
    edge_index: Tensor, cold: tuple[bool, bool], cv_folds: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Splits ratings into folds by node, such that held-out nodes are strictly cold.

    All ratings of a held-out node are held out together. With both sides cold, a pair
    of a held-out user and a held-out item is held out, and pairs with one end held out
    are in neither part, as in a both-cold split. With no side cold, single ratings are
    held out.

    Args:
        edge_index (Tensor): Rated pairs of user and item rows, :obj:`[2, R]`.
        cold (tuple): Whether held-out users, and whether held-out items, are cold.
        cv_folds (int): Number of folds.
        seed (int): Seed of the assignment.

    Returns:
        For each fold a mask of the held-out pairs and one of the training pairs.
    """
    generator = torch.Generator().manual_seed(check_seed('seed', seed))

    def assign(index: Tensor, size: int) -> Tensor:
        fold = torch.randint(cv_folds, (size,), generator=generator)
        return fold.to(index)[index]

    ends = [
        assign(index, int(index.max()) + 1)
        for index, is_cold in zip(edge_index, cold, strict=True)
        if is_cold
    ]
    if not ends:
        ends = [assign(torch.arange(edge_index.size(1)), edge_index.size(1))]
    masks = []
    for fold in range(cv_folds):
        chosen = torch.stack([end == fold for end in ends]).to(edge_index.device)
        masks.append((chosen.all(dim=0), ~chosen.any(dim=0)))
    return masks


def check_folds(
    edge_index: Tensor, held: Tensor, kept: Tensor, cold: tuple[bool, bool]
) -> None:
    """Raises ``ValueError`` if the training part of a fold leaks its targets."""
    if (held & kept).any():
        raise ValueError(
            f'Target leakage: {int((held & kept).sum())} held-out rating(s) are in the '
            f'training part of their fold'
        )
    for side, index, is_cold in zip(SIDES, edge_index, cold, strict=True):
        if is_cold and torch.isin(index[held], index[kept]).any():
            raise ValueError(
                f'Target leakage: a held-out {side} that is to be cold has ratings in '
                f'the training part of its fold'
            )
