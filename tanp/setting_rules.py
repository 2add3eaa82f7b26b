"""What the settings of :class:`~tanp.recommender.TaNPRecommender` may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agnn_pyg.base.frames import nearest
from agnn_pyg.base.rules import (
    NOT_NEGATIVE,
    SHARE,
    SHARED,
    TRUTH,
    check_fit,
    check_roles,
    check_rule,
    check_rules,
    optional,
    whole,
)
from tanp import model_rules

if TYPE_CHECKING:
    from tanp.recommender import TaNPRecommender

# What the recommender itself decides, or what nobody new could be served with.
OWN = ('num_items', 'num_users', 'user_ids', 'likelihood')

RULES = SHARED | {
    'support_size': whole(1),
    'max_size': whole(2),
    'likelihood': optional(model_rules.RULES['likelihood']),
    'statistics': TRUTH,
    'members': whole(1),
    'weight_decay': NOT_NEGATIVE,
    'ema_decay': optional(SHARE),
}

# Columns beside users, items and ratings in what is returned.
MADE = ('std', 'rank')
# What predictions read, which may have been changed since the fit.
SERVING = ('batch_size', 'progress', 'seed')


def check_settings(settings: TaNPRecommender, has_validation: bool) -> None:
    """See :func:`~agnn_pyg.base.rules.check_fit`."""
    check_fit(settings, RULES, MADE, has_validation)
    _check_options(settings.model_options)
    if settings.support_size >= settings.max_size:
        raise ValueError(
            f"'max_size' must exceed 'support_size' ({settings.support_size}), so that "
            f'a query is left (got {settings.max_size})'
        )


def check_serving(settings: TaNPRecommender) -> None:
    """Raises ``ValueError`` unless predictions can be made with the settings."""
    check_roles(settings, MADE)
    check_rules(settings, {name: RULES[name] for name in SERVING})


def _check_options(options: Any) -> None:
    """Raises ``ValueError`` unless a model has such options."""
    if options is None:
        return
    known = sorted({*model_rules.RULES} - {*OWN})
    if not isinstance(options, Mapping):
        raise ValueError(
            f"'model_options' must be a dictionary of {known} (got {options!r})"
        )
    for name, value in options.items():
        if name not in known:
            raise ValueError(
                f"'model_options' has an unknown name {name!r}{nearest(name, known)}; "
                f'a recommender may choose {known}'
            )
        check_rule(value, f'model_options.{name}', model_rules.RULES[name])
