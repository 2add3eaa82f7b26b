"""What settings must be, said ahead of a fit that would fail or not heed them."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tanp.recommender import TaNPRecommender

# Settings that are whole numbers, and the least that each may be.
WHOLE = {
    'min_count': 1,
    'support_size': 1,
    'max_size': 2,
    'members': 1,
    'epochs': 1,
    'batch_size': 1,
    'seed': 0,
}


def check_settings(settings: TaNPRecommender, has_validation: bool) -> None:
    """Raises ``ValueError`` if a fit would fail by a setting, or not heed it.

    Args:
        settings: Whole numbers of NumPy among them become those of Python.
        has_validation: Whether there are interactions to select the epoch on.
    """
    for name, least in WHOLE.items():
        setattr(settings, name, whole(getattr(settings, name), name, least))
    if settings.support_size >= settings.max_size:
        raise ValueError(
            f"'max_size' must exceed 'support_size' ({settings.support_size}), so that "
            f'a query is left (got {settings.max_size})'
        )
    if settings.patience is None:
        return
    settings.patience = whole(settings.patience, 'patience', 1)
    if not has_validation:
        raise ValueError(
            f"'patience' needs 'validation' to watch (got {settings.patience} and no "
            f'interactions for that); pass some, or set it to None'
        )


def whole(value: Any, name: str, least: int) -> int:
    """A whole number, of NumPy perhaps, as one of Python.

    Raises:
        ValueError: If it is something else, or less than the least.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or isinstance(value, bool):
        raise ValueError(f"'{name}' must be at least {least} and whole (got {value!r})")
    return number
