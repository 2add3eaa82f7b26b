"""What keeps a rating from being told to itself: what is held out of what."""

from __future__ import annotations

import torch
from torch import Tensor

from agnn_pyg.base.randomness import check_seed


def hold_out(
    rated: Tensor, cold: tuple[bool, bool], folds: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Masks of the pairs that are held out in turn, and of those that remain.

    This is the rule that keeps a rating from being told to itself: a pair is held
    out with all ratings of those ends of it that are to be cold. With both ends
    cold, pairs with one cold end are on neither side, as in a both-cold split.
    """
    generator = torch.Generator().manual_seed(check_seed('seed', seed))

    def lot(index: Tensor, size: int) -> Tensor:
        return torch.randint(folds, (size,), generator=generator).to(index)[index]

    ends = [
        lot(index, int(index.max()) + 1)
        for index, is_cold in zip(rated, cold, strict=True)
        if is_cold
    ]
    if not ends:
        ends = [lot(torch.arange(rated.size(1)), rated.size(1)).to(rated)]
    masks = []
    for fold in range(folds):
        # The pair of folds moves on together: each node is cold in one of them.
        chosen = torch.stack([end == fold for end in ends])
        masks.append((chosen.all(dim=0), ~chosen.any(dim=0)))
    return masks


def check_held_out(
    rated: Tensor, held: Tensor, kept: Tensor, cold: tuple[bool, bool]
) -> None:
    """Raises ``ValueError`` if what is held out could be told to itself."""
    if (held & kept).any():
        raise ValueError(
            f'{int((held & kept).sum())} held-out rating(s) are among those that '
            f'messages are made of: they would be told to themselves'
        )
    for name, index, is_cold in zip(('user', 'item'), rated, cold, strict=True):
        if is_cold and torch.isin(index[held], index[kept]).any():
            raise ValueError(
                f'A held-out {name} that is to be cold has ratings among those that '
                f'messages are made of'
            )
