"""Baselines: estimators with the interface of the recommenders.

Rating baselines have ``fit(ratings, users, items)`` and ``predict(pairs)``; few-shot
baselines have ``fit(ratings, users, items)`` and ``adapt(support).predict(pairs)``.
A baseline imports its library in ``fit`` and is not run if the library is missing.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, create_model

from agnn_pyg.base.config import Estimator, NonNegativeFloat, PositiveInt

TYPES = {bool: bool, int: PositiveInt, float: NonNegativeFloat, type(None): Any}


class Baseline(Estimator):
    """An estimator whose settings are keywords of the class statement.

    ``class Ridge(Baseline, alpha=3.0)`` has a setting ``alpha`` and the settings of its
    base class. :attr:`GRID` has the values that are tried on the validation part.
    """

    GRID: ClassVar[dict] = {}

    def __init_subclass__(cls, **defaults: Any) -> None:
        if defaults:
            fields = {
                name: (TYPES[type(value)], Field(value, description='See above.'))
                for name, value in defaults.items()
            }
            no_source = {'use_attribute_docstrings': False}  # searching it is slow
            fields |= {'__base__': cls.Config, '__doc__': 'Settings'}
            fields['__cls_kwargs__'] = no_source
            cls.Config = create_model(f'{cls.__name__}Config', **fields)
        super().__init_subclass__()
