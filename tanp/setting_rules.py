"""What the settings of :class:`~tanp.recommender.TaNPRecommender` may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agnn_pyg.tables.rules import (
    SHARE,
    SHARED,
    TRUTH,
    check_fit,
    number,
    optional,
    whole,
)

if TYPE_CHECKING:
    from tanp.recommender import TaNPRecommender

RULES = SHARED | {
    'support_size': whole(1),
    'max_size': whole(2),
    'statistics': TRUTH,
    'members': whole(1),
    'weight_decay': number('zero or positive', lambda value: value >= 0),
    'ema_decay': optional(SHARE),
}


def check_settings(settings: TaNPRecommender, has_validation: bool) -> None:
    """See :func:`~agnn_pyg.tables.rules.check_fit`."""
    check_fit(settings, RULES, has_validation)
    if settings.support_size >= settings.max_size:
        raise ValueError(
            f"'max_size' must exceed 'support_size' ({settings.support_size}), so that "
            f'a query is left (got {settings.max_size})'
        )
