"""What the settings of :class:`~agnn_pyg.recommender.AGNNRecommender` may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agnn_pyg.base.rules import (
    DROPOUT,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARED,
    TRUTH,
    Rule,
    check_fit,
    check_roles,
    check_rules,
    is_list,
    number,
    optional,
    some_of,
    whole,
)
from agnn_pyg.kernel.gates import KINDS
from agnn_pyg.kernel.scenarios import PATTERNS

if TYPE_CHECKING:
    from agnn_pyg.recommender import AGNNRecommender

# An epoch of fewer steps, on a small table, would hardly train.
MAX_BATCH, MIN_STEPS = 2048, 32
RULES = SHARED | {
    'batch_size': optional(whole(1)),
    'num_knots': whole(2),
    'num_neighbors': whole(0),
    'preference': TRUTH,
    'pool': number('a share in (0, 1]', lambda value: 0 < value <= 1),
    'max_pool': whole(1),
    'channels': whole(1),
    'hidden_channels': whole(1),
    'dropout': DROPOUT,
    'free_lr': POSITIVE,
    'preference_weight': NOT_NEGATIVE,
    'cold_rate': Rule(
        'two shares in [0, 1], for users and for items',
        lambda value: (
            is_list(value) and len(value) == 2 and all(map(SHARE.allows, value))
        ),
    ),
    'message_share': SHARE,
    'draws': whole(1),
}
MESSAGE_RULES = {
    'message_patterns': some_of(PATTERNS),
    'message_kinds': some_of(KINDS),
    'message_shared': whole(0),
    'message_steps': whole(0),
    'message_folds': whole(2),
}
# Columns beside users, items and ratings in what is returned.
MADE = ('rank', 'proximity', 'drawn', 'gate', 'message')
# What predictions read, which may have been changed since the fit.
SERVING = (
    'draws',
    'num_neighbors',
    'batch_size',
    'progress',
    'pool',
    'max_pool',
    'seed',
)


def check_settings(settings: AGNNRecommender, has_validation: bool) -> None:
    """See :func:`~agnn_pyg.base.rules.check_fit`."""
    check_fit(settings, RULES, MADE, has_validation)
    if settings.message_share:
        check_rules(settings, MESSAGE_RULES)


def check_serving(settings: AGNNRecommender) -> None:
    """Raises ``ValueError`` unless predictions can be made with the settings."""
    check_roles(settings, MADE)
    check_rules(settings, {name: RULES[name] for name in SERVING})


def batch_size_of(settings: AGNNRecommender, num_ratings: int) -> int:
    """The ratings of a training batch, chosen by their number unless set."""
    if settings.batch_size is not None:
        return settings.batch_size
    return max(1, min(MAX_BATCH, num_ratings // MIN_STEPS))
