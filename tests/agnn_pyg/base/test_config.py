import inspect
import math
import re
from typing import Annotated, Literal

import numpy as np
import pytest
from annotated_types import Le
from pydantic import Field, model_validator

from agnn_pyg.base.config import (
    Config,
    DropoutRate,
    Estimator,
    Fraction,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    check_argument,
)
from agnn_pyg.base.recommender_config import TrainingConfig

Rates = tuple[Fraction, Fraction]
Scenario = Literal['warm', 'cold']


class TrainingGroup(Config):
    """Training."""

    epochs: PositiveInt = Field(10, description='Passes over the ratings.')
    lr: PositiveFloat = Field(3e-3, description='Learning rate.')
    patience: PositiveInt | None = Field(None, description='Epochs to wait.')
    ema_decay: Fraction | None = Field(0.99, description='Decay of the mean.')


class Options(Config):
    """Options of a model."""

    dropout: DropoutRate = Field(0.0, description='Dropout.')
    widths: tuple[PositiveInt, ...] = Field((8, 8), description='Layers.')


class ToyConfig(TrainingGroup):
    """The model."""

    columns: list[str] | dict[str, str | None] | None = Field(
        None,
        description='Columns.',
        json_schema_extra={'must': "a list of columns such as ['age']"},
    )
    rates: Rates = Field((0.1, 0.5), description='Of users and items.')
    scenarios: Annotated[tuple[Scenario, ...], Field(min_length=1)] = Field(
        ('warm', 'cold'), description='What is predicted.'
    )
    folds: NonNegativeInt = Field(5, description='Folds.')
    skip: bool = Field(True, description='Add a linear skip.')
    name: str = Field('toy', description='A name.')
    options: Options | None = Field(None, description='Of the model.')

    @model_validator(mode='after')
    def _fewer_folds_than_epochs(self):
        if self.folds > self.epochs:
            raise ValueError(f"'folds' must not exceed 'epochs' (got {self.folds})")
        return self


class Toy(Estimator):
    """A toy.

    Attributes:
        mean_: What is fitted.
    """

    Config = ToyConfig

    def fit(self, x, y=None):
        self.mean_ = np.mean(x) + self.config.epochs
        return self


WRONG = {'epochs': [0, 2.5, '7', True], 'lr': [0, math.inf], 'skip': ['no']}
WRONG |= {'rates': [0.5, (0.1, 2), {0.1, 0.5}], 'scenarios': [(), ('hot',)]}
WRONG |= {'columns': ['age'], 'options': [3], 'folds': [11]}


def test_wrong_settings_are_named_with_their_value():
    for name, value in [(name, v) for name, values in WRONG.items() for v in values]:
        message = rf"'{name}' must .*\(got {re.escape(repr(value))}\)"
        setting = {name: value}
        toy = Toy(**setting)
        for call in (lambda s=setting: ToyConfig(**s), lambda t=toy: t.fit([1.0])):
            with pytest.raises(ValueError, match=message) as raised:
                call()
            assert type(raised.value) is ValueError
    for setting, message in (
        ({'columns': {'age'}}, "'columns' must be a list of columns such as"),
        ({'options': {'dropout': 1.0}}, "'options': 'dropout' must .*1"),
        ({'options': {'drop': 0.1}}, "'options': .*'drop', did you mean 'dropout'"),
        ({'learning_rate': 0.1}, "no setting .*, did you mean 'lr'"),
        ({'epoch': 3}, "no setting 'epoch', did you mean 'epochs'. .known: ep"),
    ):
        with pytest.raises(ValueError, match=message):
            ToyConfig(**setting)
    with pytest.raises(TypeError, match=r'Toy .*by name.* 10 '):
        Toy(10)


def test_settings_are_documented_in_groups():
    assert [*ToyConfig.groups()] == ['Training', 'The model']
    doc = inspect.getdoc(Toy)
    assert doc.index('*Training*') < doc.index('*The model*') < doc.index('Attributes:')
    assert 'epochs (int, at least 1, optional): Passes over the ratings.' in doc
    assert 'ema_decay (float, at least 0, at most 1, optional)' in doc
    parameters = inspect.signature(Toy).parameters
    assert [*parameters] == [
        name for part in ToyConfig.groups().values() for name in part
    ]
    assert parameters['lr'].default == 3e-3

    class Tuned(ToyConfig):
        tuned_first = ('skip', 'lr')

    assert Tuned.arguments().startswith('Args:\n    *To tune first*\n\n    skip (bool')
    assert Tuned.groups()['To tune first'] == ['skip', 'lr']
    assert sorted(Tuned.defaults()) == sorted(ToyConfig.defaults())
    # The default of `progress` is another one in a notebook.
    assert re.search(r'notebook; not saved\.\n', TrainingConfig.arguments())


def test_params_are_kept_without_types_of_numpy():
    toy = Toy(columns=np.array(['age']), rates=[0.1, 0.2], epochs=0)
    assert toy.get_params()['columns'] == ['age']
    assert toy.get_params()['rates'] == (0.1, 0.2)
    assert toy.get_params()['epochs'] == 0  # refused by the next fit
    assert repr(toy) == "Toy(epochs=0, columns=['age'], rates=(0.1, 0.2))"
    assert toy.set_params(epochs=10) is toy
    with pytest.raises(ValueError, match="Toy has no setting 'epoch'"):
        toy.set_params(lr=0.1, epoch=3)
    assert toy.lr == 3e-3


def test_arguments_of_functions():
    assert check_argument('k', np.int64(3), PositiveInt) == 3
    assert check_argument('sizes', [1, 2], tuple[int, int] | None) == (1, 2)
    for wrong in (0, 2.5, '3', None, True, 9):
        with pytest.raises(ValueError, match=f"'k' must .*got {wrong!r}"):
            check_argument('k', wrong, Annotated[PositiveInt, Le(8)])
