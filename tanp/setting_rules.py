"""What the settings of :class:`~tanp.recommender.TaNPRecommender` may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agnn_pyg.tables.rules import (
    COLUMNS,
    POSITIVE,
    SEED,
    SHARE,
    TEXT,
    TRUTH,
    check_patience,
    check_roles,
    check_rules,
    number,
    optional,
    whole,
)

if TYPE_CHECKING:
    from tanp.recommender import TaNPRecommender

RULES = {
    'user_attributes': COLUMNS,
    'item_attributes': COLUMNS,
    'min_count': whole(1),
    'support_size': whole(1),
    'max_size': whole(2),
    'statistics': TRUTH,
    'members': whole(1),
    'epochs': whole(1),
    'batch_size': whole(1),
    'lr': POSITIVE,
    'weight_decay': number('zero or positive', lambda value: value >= 0),
    'ema_decay': optional(SHARE),
    'patience': optional(whole(1)),
    'seed': SEED,
    'progress': TRUTH,
    'accelerator': TEXT,
}


def check_settings(settings: TaNPRecommender, has_validation: bool) -> None:
    """Raises ``ValueError`` if a fit would fail by a setting, or not heed it.

    Args:
        settings: Whole numbers of NumPy among them become those of Python.
        has_validation: Whether there are interactions to select the epoch on.
    """
    check_roles(settings)
    check_rules(settings, RULES)
    check_patience(settings, has_validation)
    if settings.support_size >= settings.max_size:
        raise ValueError(
            f"'max_size' must exceed 'support_size' ({settings.support_size}), so that "
            f'a query is left (got {settings.max_size})'
        )
