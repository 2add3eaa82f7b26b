"""Base class of recommenders: scoring, saving and loading."""

from __future__ import annotations

import os
from typing import Any, ClassVar, TypeVar

from agnn_pyg.base.columns import ColumnEncoder
from agnn_pyg.base.config import Estimator
from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.base.rating_scale import RatingScale
from agnn_pyg.base.store import read_store, write_store
from agnn_pyg.base.vocabulary import Vocabulary

R = TypeVar('R', bound='Recommender')


class Recommender(Estimator):
    """Base class of estimators that are fitted on tables of ratings, users and items.

    :obj:`fit` sets :obj:`history_`, :obj:`best_epoch_` and :obj:`_fitted_`, an object
    of the class :obj:`Fitted`. It has the :obj:`config` of the fit, the :obj:`scale` of
    ratings, and :obj:`ids` and a tuple of :obj:`encoders` by side. Its method
    :obj:`to_store()` returns all other state as plain data and tensors;
    :obj:`from_store(config, plain, tensors)` is the inverse.
    """

    # The class of the fitted state, the version of its saved format, and the settings
    # of the published code.
    Fitted: ClassVar[type]
    VERSION: ClassVar[int]
    PUBLISHED: ClassVar[dict[str, Any]]

    @classmethod
    def as_published(cls: type[R], **changes: Any) -> R:
        """The model of the paper, with the settings and errors of its published code.

        With :obj:`rating=None`, settings that apply only to ratings are left out.
        """
        settings = dict(cls.PUBLISHED)
        if changes.get('rating', '') is None:
            for name in cls.Config.ratings_only:
                settings.pop(name, None)
        return cls(**settings | changes)

    def score(self, ratings: Any, y: Any = None, **options: Any) -> float:
        """The negative RMSE, or nDCG@20 for positives: higher is better.

        scikit-learn calls it with :obj:`y=None`. :obj:`options` go to :meth:`evaluate`.
        """
        if y is not None:
            raise ValueError(
                f"'y' must be None (got {type(y).__name__}); name further tables, such "
                f'as users=...'
            )
        found = self.evaluate(ratings, **options)
        return -found['rmse'] if 'rmse' in found else found['ndcg@20']

    def save(self, path: str | os.PathLike, **notes: Any) -> None:
        """Writes the recommender to a folder.

        Args:
            path (path): A folder that is new, empty or holds a saved recommender of
                this class, which is replaced.
            **notes (optional): Plain data to save with it, see
                :func:`~agnn_pyg.base.store.read_notes`.

        Raises:
            ValueError: If the folder holds anything else.
        """
        config, fitted = self._served()
        plain, tensors = fitted.to_store()
        content = {
            'settings': config.model_dump(mode='json'),
            'fit_settings': fitted.config.model_dump(mode='json'),
            'history': self.history_,
            'best_epoch': self.best_epoch_,
            'ids': fitted.ids,
            'scale': vars(fitted.scale),
            'encoders': fitted.encoders,
            **plain,
        }
        kind = type(self).__name__
        write_store(path, kind, self.VERSION, content, tensors, **notes)

    @classmethod
    def load(cls: type[R], path: str | os.PathLike) -> R:
        """Loads a recommender written by :meth:`save`; executes no code of the file.

        Raises:
            ValueError: If it is damaged, or has another class or version.
        """
        content, tensors = read_store(path, cls.__name__, cls.VERSION)
        try:
            made = cls(**dict(cls.Config(**content.pop('settings'))))
            config = cls.Config(**content.pop('fit_settings'))
            made.history_ = content.pop('history')
            made.best_epoch_ = content.pop('best_epoch')
            ids = content['ids'].items()
            content['ids'] = {side: Vocabulary.from_dict(part) for side, part in ids}
            content['scale'] = RatingScale(**content['scale'])
            for side, parts in content['encoders'].items():
                encoders = tuple(map(AttributeEncoder.from_dict, parts))
                content['encoders'][side] = encoders
            made._fitted_ = cls.Fitted.from_store(config, content, tensors)
        except Exception as error:
            raise ValueError(f"'{path}' is damaged ({error!r})") from error
        return made

    @property
    def vocabularies_(self) -> dict[str, Vocabulary]:
        """The ids of the fit by side."""
        return self._served()[1].ids

    @property
    def rating_scale_(self) -> RatingScale:
        """The scale of the ratings."""
        return self._served()[1].scale

    @property
    def column_encoders_(self) -> list[ColumnEncoder]:
        """The attribute columns of users and of items."""
        sides = self._served()[1].encoders.values()
        # The last encoder of a side has all values, including rare ones.
        last = [encoder for encoders in sides for encoder in encoders[-1:]]
        return [column for encoder in last for column in encoder.column_encoders]

    def _served(self) -> tuple[Any, Any]:
        """Current settings and fitted state; ``ValueError`` if nothing is fitted."""
        if not hasattr(self, '_fitted_'):
            raise ValueError("Call 'fit' first, or 'load' a recommender")
        config, fitted = self.config, self._fitted_.config
        if (config.rating is None) != (fitted.rating is None):
            raise ValueError(
                f"'rating' must be None if and only if it was in the fit (got "
                f'{config.rating!r}, {fitted.rating!r} in the fit); set it back, or '
                f'fit again'
            )
        if config.rating_range != fitted.rating_range:
            raise ValueError(
                f"'rating_range' must be that of the fit, {fitted.rating_range} (got "
                f'{config.rating_range}); set it back, or fit again'
            )
        return config, self._fitted_
