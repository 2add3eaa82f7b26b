"""Baselines: estimators with the interface of the recommenders.

Rating baselines have ``fit(ratings, users, items)`` and ``predict(pairs)``, few-shot
baselines ``fit(ratings, users, items)`` and ``adapt(support).predict(pairs)``. The
library that one stands on is imported when it is fitted; without it, it is not run.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ConfigDict, Field, create_model

from agnn_pyg.base.config import Config, Estimator, NonNegativeFloat, PositiveInt

TYPES = {bool: bool, int: PositiveInt, float: NonNegativeFloat, type(None): Any}


class Settings(Config):
    """Settings."""

    # There is no source to search for docstrings, which takes long.
    model_config = ConfigDict(use_attribute_docstrings=False)


class Baseline(Estimator):
    """An estimator with settings named as keywords of its class.

    ``class Ridge(Baseline, alpha=3.0)`` has a setting ``alpha`` and those of the class
    that it is derived from. :attr:`GRID` names what is tried on the validation part.
    """

    GRID: ClassVar[dict] = {}
    Config = Settings

    def __init_subclass__(cls, **defaults: Any) -> None:
        if defaults:
            fields = {
                name: (TYPES[type(value)], Field(value, description='See above.'))
                for name, value in defaults.items()
            }
            name = f'{cls.__name__}Config'
            cls.Config = create_model(name, __base__=cls.Config, **fields)
        super().__init_subclass__()
