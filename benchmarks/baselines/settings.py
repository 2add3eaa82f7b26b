"""What all baselines are: estimators whose settings are declared by their defaults."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, create_model

from agnn_pyg.base.config import Estimator, NonNegativeFloat, PositiveInt

# Whole numbers must be positive, others not negative.
TYPES = {bool: bool, int: PositiveInt, float: NonNegativeFloat, type(None): Any}


class Baseline(Estimator):
    """An estimator with settings named as keywords of its class.

    ``class Ridge(Baseline, alpha=3.0)`` has a setting ``alpha`` and those of the class
    that it is derived from. :attr:`GRID` names what is tried on the validation part.
    """

    GRID: ClassVar[dict] = {}

    def __init_subclass__(cls, **defaults: Any) -> None:
        if defaults:
            fields = {
                name: (TYPES[type(value)], Field(value, description='See above.'))
                for name, value in defaults.items()
            }
            base = cls.Config
            cls.Config = create_model(
                f'{cls.__name__}Config', __base__=base, __doc__='Settings', **fields
            )
        super().__init_subclass__()
