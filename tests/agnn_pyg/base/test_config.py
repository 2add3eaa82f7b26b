import inspect
import math
from typing import Annotated, Literal

import numpy as np
import pandas as pd
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

Rates = tuple[Fraction, Fraction]
Scenario = Literal['warm', 'cold']


class TrainingGroup(Config):
    """Training.

    More about it.
    """

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

    def score(self, x, y=None):
        return -abs(np.mean(x) - self.mean_)


CHANGED = {
    'epochs': 7,
    'lr': 1e-05,
    'patience': 3,
    'ema_decay': None,
    'columns': {'age': 'numeric', 'größe "x"': None},
    'rates': (0.0, 1.0),
    'scenarios': ('cold',),
    'skip': False,
    'options': {'dropout': 0.25, 'widths': (4,)},
}


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        ({'epochs': 0}, r"'epochs' must be a whole number, at least 1 \(got 0\)"),
        ({'epochs': 2.5}, "'epochs' must be a whole number.*got 2.5"),
        ({'epochs': '7'}, "'epochs' must be a whole number.*got '7'"),
        ({'epochs': True}, "'epochs' must be a whole number.*got True"),
        ({'epochs': None}, "'epochs' must be a whole number.*got None"),
        ({'patience': 0}, "'patience' must be .*, or None .got 0"),
        ({'lr': 0}, "'lr' must be a number, above 0 .got 0"),
        ({'lr': math.inf}, "'lr' must be a number, above 0 .got inf"),
        ({'lr': np.float64('nan')}, "'lr' must be a number, above 0 .got .*nan"),
        ({'skip': 'no'}, "'skip' must be True or False .got 'no'"),
        ({'rates': 0.5}, r"'rates' must be a list of 2, each a number in \[0, 1\]"),
        ({'rates': (0.1, 2)}, r"'rates' must be .*got \(0.1, 2\)"),
        ({'rates': {0.1, 0.5}}, "'rates' must be a list of 2"),
        ({'scenarios': []}, "'scenarios' must be a list, at least one, each one of"),
        ({'scenarios': ['hot']}, "'scenarios' must be .*'warm', 'cold' .got"),
        ({'scenarios': {'warm'}}, "'scenarios' must be a list"),
        ({'columns': 'age'}, "'columns' must be a list of columns such as .*'age'"),
        ({'columns': {'age'}}, "'columns' must be a list of columns"),
        ({'options': {'dropout': 1.0}}, r"'options': 'dropout' must be .*\[0, 1\)"),
        ({'options': {'drop': 0.1}}, "'options': .*'drop', did you mean 'dropout'"),
        ({'options': 3}, "'options' must be a mapping, or None .got 3"),
        ({'folds': 11}, "'folds' must not exceed 'epochs'"),
        ({'epoch': 3}, "no setting 'epoch', did you mean 'epochs'. .it has epochs, lr"),
    ],
)
def test_wrong_settings(setting, message):
    with pytest.raises(ValueError, match=message) as raised:
        ToyConfig(**setting)
    assert type(raised.value) is ValueError
    if 'epoch' not in setting:
        toy = Toy(**setting)
        with pytest.raises(ValueError, match=message):
            toy.fit([1.0])


def test_numbers_and_sequences_become_those_of_python():
    given = {
        'epochs': np.int64(7),
        'lr': np.float32(0.5),
        'rates': np.array([0.0, 1.0]),
        'scenarios': pd.Index(['cold']),
        'columns': pd.Series(['age', 'town']),
        'options': {'widths': [np.int8(4)]},
        'skip': np.bool_(False),
    }
    config = ToyConfig(**given)
    assert config.model_dump() == ToyConfig().model_dump() | {
        'epochs': 7,
        'lr': 0.5,
        'rates': (0.0, 1.0),
        'scenarios': ('cold',),
        'columns': ['age', 'town'],
        'options': {'dropout': 0.0, 'widths': (4,)},
        'skip': False,
    }
    assert [type(value) for value in (config.epochs, config.lr)] == [int, float]


@pytest.mark.parametrize('changed', [{}, CHANGED])
def test_plain_data_and_toml_give_equal_configs(changed, tmp_path):
    config = ToyConfig(**changed)
    assert ToyConfig.from_dict(config.model_dump(mode='json')) == config
    path = tmp_path / 'config.toml'
    path.write_text(config.to_toml(), encoding='utf-8')
    again = ToyConfig.from_toml(path)
    assert again == config
    assert again.hash() == config.hash()
    assert type(again.rates) is tuple
    assert ToyConfig(name='other').hash() != config.hash()


def test_toml_files_that_are_wrong_are_named(tmp_path):
    path = tmp_path / 'config.toml'
    with pytest.raises(ValueError, match=r"'.*config.toml': .*No such file"):
        ToyConfig.from_toml(path)
    for text in ('epochs = 0', 'epochs = = 3', 'epoch = 3'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"config.toml'.*(epochs|line 1)"):
            ToyConfig.from_toml(path)


def test_settings_are_documented_in_groups():
    assert [*ToyConfig.groups()] == ['Training', 'The model']
    doc = inspect.getdoc(Toy)
    assert doc.index('*Training*') < doc.index('*The model*') < doc.index('Attributes:')
    assert 'epochs (int, at least 1, optional): Passes over the ratings.' in doc
    assert 'ema_decay (float in [0, 1], optional)' in doc
    parameters = inspect.signature(Toy).parameters
    assert [*parameters] == [
        name for part in ToyConfig.groups().values() for name in part
    ]
    assert parameters['lr'].default == 3e-3
    with pytest.raises(TypeError):
        Toy('toy')


def test_params_are_kept_as_they_are_given():
    names = np.array(['age'])
    toy = Toy(columns=names, epochs=0)
    assert toy.columns is names
    assert toy.get_params()['epochs'] == 0
    assert repr(toy) == f'Toy(epochs=0, columns={names!r})'
    assert toy.set_params(epochs=10) is toy
    assert toy.config.columns == ['age']
    with pytest.raises(ValueError, match="Toy has no setting 'epoch'"):
        toy.set_params(lr=0.1, epoch=3)
    assert toy.lr == 3e-3


def test_scikit_learn_clones_and_searches():
    base = pytest.importorskip('sklearn.base')
    search = pytest.importorskip('sklearn.model_selection').GridSearchCV
    toy = Toy(**CHANGED)
    assert base.clone(toy).get_params() == toy.get_params()
    found = search(Toy(folds=0), {'epochs': [1, 5]}, cv=2).fit(np.arange(8.0))
    assert found.best_params_ == {'epochs': 1}


def test_arguments_of_functions():
    assert check_argument('k', np.int64(3), PositiveInt) == 3
    assert check_argument('sizes', [1, 2], tuple[int, int] | None) == (1, 2)
    for wrong in (0, 2.5, '3', None, True, 9):
        with pytest.raises(ValueError, match=rf"'k' must be .*\[1, 8\] .got {wrong!r}"):
            check_argument('k', wrong, Annotated[PositiveInt, Le(8)])
