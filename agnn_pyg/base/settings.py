"""Settings that an object keeps as attributes, as scikit-learn's objects do."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from agnn_pyg.base.frames import nearest

Self = TypeVar('Self', bound='Settings')


class Settings:
    """Gets, sets and prints what the constructor of a subclass takes.

    The constructor keeps every argument under its own name and does no more.
    """

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        signature = inspect.signature(cls.__init__)
        return {
            name: parameter.default
            for name, parameter in signature.parameters.items()
            if name != 'self'
        }

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All settings by name; :obj:`deep` is scikit-learn's, and changes nothing."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self: Self, **params: Any) -> Self:
        """Changes settings, and nothing that is fitted.

        What training reads counts from the next fit on. What predictions read counts
        at once: names of columns, and of
        :class:`~agnn_pyg.recommender.AGNNRecommender` :obj:`draws`,
        :obj:`num_neighbors`, :obj:`batch_size` and :obj:`progress`, and for nodes that
        are new :obj:`pool`, :obj:`max_pool` and :obj:`seed`.

        Raises:
            ValueError: If there is no such setting.
        """
        known = self._defaults()
        for name in params:
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no setting '{name}'"
                    f'{nearest(name, known)} (it has {", ".join(known)})'
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        # As texts: arrays would be compared entry by entry.
        changed = (
            f'{name}={value!r}'
            for name, value in self.get_params().items()
            if repr(value) != repr(self._defaults()[name])
        )
        return f'{type(self).__name__}({", ".join(changed)})'
