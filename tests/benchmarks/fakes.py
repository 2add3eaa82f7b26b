"""Estimators that write down what a suite does with them."""

from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from agnn_pyg.base.config import Config, Estimator


class FakeConfig(Config):
    """Settings."""

    shift: float = Field(0.0, description='Added to the mean.')
    seed: int = Field(0, description='Not used.')
    epochs: int = Field(5, description='Not used.')


class Fake(Estimator):
    """Predicts the mean of what it was fitted on, plus a shift."""

    Config = FakeConfig
    log: ClassVar[list] = []

    def fit(self, ratings, users, items, validation=None, **options):
        self.log.append(('fit', self.shift, len(ratings), validation is not None))
        self.log[-1] += (options,)
        self.mean_ = ratings['rating'].mean()
        if validation is not None:
            self.best_epoch_ = 2
        return self

    def predict(self, pairs):
        self.log.append(('predict', self.shift, len(pairs)))
        return pd.Series(self.mean_ + self.shift, pairs.index)


class Missing(Fake):
    """Needs a library that is not there."""

    def fit(self, *arguments, **options):
        raise ImportError('no such library')


class FewShot(Fake):
    """Scores by the number of the support's likes of anything."""

    log: ClassVar[list] = []

    def adapt(self, support, users=None):
        adapted = FewShot(**self.get_params())
        adapted.likes = support.groupby('user')['rating'].sum()
        adapted.supports = support
        return adapted

    def predict(self, pairs, clip=True):
        self.log.append(self.supports)
        noise = np.random.default_rng(0).random(len(pairs))
        score = pairs['user'].map(self.likes).to_numpy() + noise
        return pd.Series(score, pairs.index, name='score')
