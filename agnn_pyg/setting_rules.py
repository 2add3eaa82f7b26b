"""What the settings of :class:`~agnn_pyg.recommender.AGNNRecommender` may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agnn_pyg.gates import KINDS
from agnn_pyg.messages import PATTERNS
from agnn_pyg.tables.rules import (
    COLUMNS,
    POSITIVE,
    SEED,
    SHARE,
    TEXT,
    TRUTH,
    Rule,
    check_patience,
    check_roles,
    check_rules,
    number,
    optional,
    some_of,
    whole,
)

if TYPE_CHECKING:
    from agnn_pyg.recommender import AGNNRecommender

RULES = {
    'user_attributes': COLUMNS,
    'item_attributes': COLUMNS,
    'min_count': whole(1),
    'num_knots': whole(2),
    'num_neighbors': whole(0),
    'preference': TRUTH,
    'pool': number('a share in (0, 1]', lambda value: 0 < value <= 1),
    'max_pool': whole(1),
    'channels': whole(1),
    'hidden_channels': whole(1),
    'dropout': number('a share in [0, 1)', lambda value: 0 <= value < 1),
    'epochs': whole(1),
    'batch_size': whole(1),
    'lr': POSITIVE,
    'free_lr': POSITIVE,
    'preference_weight': number('zero or positive', lambda value: value >= 0),
    'cold_rate': Rule(
        'two shares in [0, 1], for users and for items',
        lambda value: len(value) == 2 and all(map(SHARE.allows, value)),
    ),
    'message_share': SHARE,
    'patience': optional(whole(1)),
    'draws': whole(1),
    'seed': SEED,
    'progress': TRUTH,
    'accelerator': TEXT,
}
MESSAGE_RULES = {
    'message_patterns': some_of(PATTERNS),
    'message_kinds': some_of(KINDS),
    'message_shared': whole(0),
    'message_steps': whole(0),
    'message_folds': whole(2),
}


def check_settings(settings: AGNNRecommender, has_validation: bool) -> None:
    """Raises ``ValueError`` if a fit would fail by a setting, or not heed it.

    Args:
        settings: Whole numbers of NumPy among them become those of Python.
        has_validation: Whether there are ratings to select the epoch on.
    """
    check_roles(settings)
    check_rules(settings, RULES)
    if settings.message_share:
        check_rules(settings, MESSAGE_RULES)
    check_patience(settings, has_validation)
