"""Cross-validation folds for the cold-start scenarios, and weights fitted on them."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Len
from torch import Tensor

from agnn_pyg.base.config import Config, Seed, check_argument
from agnn_pyg.base.randomness import salted
from agnn_pyg.rating_data import SIDES

# Whether the user is cold, and whether the item is cold.
SCENARIOS = {
    'warm': (False, False),
    'user_cold': (True, False),
    'item_cold': (False, True),
    'both_cold': (True, True),
}


# The number of ratings that the prior of a fitted weight counts as.
PRIOR_RATINGS = 20


class ScenariosConfig(Config):
    """Scenarios."""

    scenarios: Annotated[
        tuple[Literal['warm', 'user_cold', 'item_cold', 'both_cold'], ...], Len(1)
    ] = tuple(SCENARIOS)
    """Scenarios of the pairs to predict. The time of the kernel model grows with their
    number, and it does not score other pairs."""


def scenario_folds(
    edge_index: Tensor, scenario: str, cv_folds: int = 5, seed: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """Splits ratings into folds whose held-out pairs match a cold-start scenario.

    All ratings of a held-out node are held out together. In :obj:`"both_cold"`, pairs
    of a held-out user and a held-out item are held out, and pairs with one held-out
    node are in neither part. In :obj:`"warm"`, single ratings are held out.

    Fold k holds out the same users in all scenarios with cold users, and the same items
    in all scenarios with cold items. A model trained on pairs that fold k keeps in both
    :obj:`"both_cold"` and :obj:`"warm"` therefore sees no target of that fold in any
    scenario.

    Args:
        edge_index (Tensor): Rated pairs of user and item rows, :obj:`[2, R]`.
        scenario (str): One of :data:`SCENARIOS`.
        cv_folds (int, optional): Number of folds. (default: :obj:`5`)
        seed (int, optional): Seed of the assignment. (default: :obj:`0`)

    Returns:
        For each fold a mask of the held-out pairs and a mask of the training pairs,
        both :obj:`[R]`. With few nodes either may be empty.
    """
    check_argument('seed', seed, Seed)
    sides = zip(SIDES, edge_index, SCENARIOS[scenario], strict=True)
    ends = [(side, index) for side, index, is_cold in sides if is_cold]
    ends = ends or [('rating', torch.arange(edge_index.size(1)))]
    fold = []
    for name, index in ends:
        node, position = index.cpu().unique(return_inverse=True)
        generator = torch.Generator().manual_seed(abs(salted(seed, name)))
        order = torch.randperm(len(node), generator=generator)
        fold.append((order % cv_folds)[position].to(edge_index.device))
    fold = torch.stack(fold)
    return [((fold == k).all(0), (fold != k).all(0)) for k in range(cv_folds)]


def joint_fold(
    edge_index: Tensor, cv_folds: int = 10, seed: int = 0
) -> tuple[dict[str, Tensor], Tensor]:
    """One fold for all scenarios at once, for a model that is fitted only once.

    Returns:
        By scenario a mask of held-out pairs in which exactly the cold nodes have no
        training pair, and the mask of the training pairs, all :obj:`[R]`.
    """
    names = 'both_cold', 'warm'
    folds = [scenario_folds(edge_index, name, cv_folds, seed)[0] for name in names]
    kept = folds[0][1] & folds[1][1]
    cold = [~torch.isin(row, row[kept]) for row in edge_index]
    held = {
        name: (cold[0] == user) & (cold[1] == item) & ~kept
        for name, (user, item) in SCENARIOS.items()
    }
    return held, kept


def check_folds(edge_index: Tensor, scenario: str, held: Tensor, kept: Tensor) -> None:
    """Raises ``ValueError`` if the training part of a fold leaks its targets."""
    if (held & kept).any():
        raise ValueError(
            f'Target leakage: {int((held & kept).sum())} held-out rating(s) are in the '
            f'training part of their fold'
        )
    sides = zip(SIDES, edge_index, SCENARIOS[scenario], strict=True)
    for side, index, is_cold in sides:
        if is_cold and torch.isin(index[held], index[kept]).any():
            raise ValueError(
                f'Target leakage: a held-out {side} that must be cold has ratings in '
                f'the training part of its fold'
            )


def fit_weight(
    edge_index: Tensor, rating: Tensor, base: Tensor, other: Tensor, prior: float
) -> tuple[float, float]:
    r"""The weight of one prediction beside another, and its standard error.

    With :math:`d = o - b`, it minimizes :math:`\sum (r - b - w d)^2 + \lambda
    (w - w_0)^2 \overline{d^2}`, least squares on held-out ratings with a prior.

    Args:
        edge_index (Tensor): The held-out pairs, :obj:`[2, H]`.
        rating (Tensor): Their ratings :math:`r`, :obj:`[H]`.
        base (Tensor): Predictions :math:`b` with weight :math:`1 - w`, :obj:`[H]`.
        other (Tensor): Predictions :math:`o` with weight :math:`w`, :obj:`[H]`.
        prior (float): The prior :math:`w_0`; it counts as :data:`PRIOR_RATINGS`
            ratings, :math:`\lambda`.
    """
    gap, rest = (x.double() - base.double() for x in (other, rating))
    if not gap.any():
        return prior, 0.0
    size = gap.square().mean()
    total = gap @ rest + PRIOR_RATINGS * prior * size
    count = len(gap) + PRIOR_RATINGS
    weight = float(total / (size * count))
    # Errors of a node are correlated: the standard error is clustered by node.
    slope = gap * (rest - weight * gap)
    sums = (i.bincount(slope, int(i.max()) + 1) for i in edge_index)
    return weight, max(float(made.norm() / (size * count)) for made in sums)
