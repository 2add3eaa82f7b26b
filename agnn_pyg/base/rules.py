"""What settings must be, with a message that names setting, value and remedy."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pandas.api.types import is_list_like


class Rule(NamedTuple):
    """What a setting must be.

    Attributes:
        must: In words, to follow "must be".
        allows: Whether a value is of that sort; of others it may fail.
    """

    must: str
    allows: Callable[[Any], bool]


def check_rules(settings: Any, rules: Mapping[str, Rule]) -> None:
    """Raises ``ValueError`` unless all attributes are what rules say they must be.

    Whole numbers of NumPy become those of Python, which never overflow.

    Args:
        settings (object): Its attributes are the settings.
        rules (mapping): A rule by the name of each.
    """
    for name, rule in rules.items():
        setattr(settings, name, check_rule(getattr(settings, name), name, rule))


def check_fit(
    settings: Any, rules: Mapping[str, Rule], made: Sequence[str], has_validation: bool
) -> None:
    """Raises ``ValueError`` if a fit would fail by a setting, or not heed it.

    Args:
        settings (object): A recommender; its attributes are the settings.
        rules (mapping): Of its settings, see :func:`check_rules`.
        made (sequence): See :func:`check_roles`.
        has_validation (bool): Whether there are ratings to select the epoch on.
    """
    check_roles(settings, made)
    check_rules(settings, rules)
    _check_patience(settings, has_validation)


def check_roles(settings: Any, made: Sequence[str]) -> None:
    """Raises ``ValueError`` unless users, items and ratings have a column each.

    Args:
        settings (object): A recommender.
        made (sequence): Columns beside these in what it returns.
    """
    roles = [settings.user, settings.item, settings.rating]
    for role in roles:
        if is_list_like(role):
            raise ValueError(
                f"'user', 'item' and 'rating' must each name one column (got {role!r})"
            )
        if role in made:
            raise ValueError(
                f"'user', 'item' and 'rating' must not be columns that are made beside "
                f'them, {made} (got {roles}); rename yours'
            )
    if any(roles.count(role) > 1 for role in roles):
        raise ValueError(
            f"'user', 'item' and 'rating' must be three columns (got {roles}); name "
            f'the one of each'
        )


def _check_patience(settings: Any, has_validation: bool) -> None:
    """Raises ``ValueError`` if patience has nothing to watch."""
    if settings.patience is not None and not has_validation:
        raise ValueError(
            f"'patience' needs 'validation' to watch (got {settings.patience} and no "
            f'ratings for that); pass some, or set it to None'
        )


def check_rule(value: Any, name: str, rule: Rule) -> Any:
    """A value, if it is what a rule says that it must be.

    Raises:
        ValueError: If it is not.
    """
    try:
        allowed = rule.allows(value)
    except (TypeError, ValueError, OverflowError):
        allowed = False
    if not allowed:
        raise ValueError(f"'{name}' must be {rule.must} (got {value!r})")
    return int(value) if isinstance(value, np.integer) else value


def whole(low: int, high: int | None = None) -> Rule:
    """A whole number from one bound to another, if there is another."""
    most = '' if high is None else f', at most {high}'
    must = f'at least {low} and whole{most}'

    def allows(value: Any) -> bool:
        number = math.nan if _is_truth(value) else operator.index(value)
        return low <= number and (high is None or number <= high)

    return Rule(must, allows)


def number(must: str, holds: Callable[[float], bool]) -> Rule:
    """A finite number of which something holds, which is said in words, too."""

    def allows(value: Any) -> bool:
        is_number = isinstance(value, numbers.Real) and not _is_truth(value)
        return is_number and math.isfinite(value) and holds(value)

    return Rule(must, allows)


def optional(rule: Rule) -> Rule:
    """What a rule allows, or nothing."""
    return Rule(
        f'{rule.must}, or None', lambda value: value is None or rule.allows(value)
    )


def one_of(known: Iterable[str]) -> Rule:
    """A known name."""
    known = tuple(known)
    return Rule(f'one of {known}', lambda value: value in known)


def some_of(known: Iterable[str]) -> Rule:
    """A list of known names, one at least."""
    known = tuple(known)

    def allows(value: Any) -> bool:
        return is_list(value) and len(value) > 0 and {*value} <= {*known}

    return Rule(f'of {known}, one at least, in a list', allows)


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def is_list(value: Any) -> bool:
    """Whether a value is listed in an order, and so is no text and no set."""
    return is_list_like(value, allow_sets=False) and hasattr(value, '__len__')


def _is_accelerator(value: Any) -> bool:
    from pytorch_lightning.accelerators import AcceleratorRegistry

    def is_here(name: str) -> bool:
        return AcceleratorRegistry[name]['accelerator'].is_available()

    here = {*filter(is_here, AcceleratorRegistry.available_accelerators())}
    return value in here | {'auto'} or (value == 'gpu' and bool(here & {'cuda', 'mps'}))


SHARE = number('a share in [0, 1]', lambda value: 0 <= value <= 1)
POSITIVE = number('a positive number', lambda value: value > 0)
NOT_NEGATIVE = number('zero or positive', lambda value: value >= 0)
DROPOUT = number('a share in [0, 1)', lambda value: 0 <= value < 1)
TRUTH = Rule('True or False', _is_truth)
ACCELERATOR = Rule(
    "an accelerator of Lightning that is here, such as 'cpu' or 'auto'", _is_accelerator
)
SEED = whole(0, 2**63 - 1)
COLUMNS = optional(
    Rule("a list of columns such as ['age'], or a mapping from them", is_list)
)
# Of settings that both recommenders have.
SHARED = {
    'user_attributes': COLUMNS,
    'item_attributes': COLUMNS,
    'min_count': whole(1),
    'epochs': whole(1),
    'batch_size': whole(1),
    'lr': POSITIVE,
    'patience': optional(whole(1)),
    'seed': SEED,
    'progress': TRUTH,
    'accelerator': ACCELERATOR,
}
