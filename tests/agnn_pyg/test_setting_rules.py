"""Settings that a fit would fail by, or not heed, are refused ahead of all else."""

import copy

import numpy as np
import pandas as pd
import pytest

from agnn_pyg import fitting
from agnn_pyg.command import main
from agnn_pyg.recommender import AGNNRecommender
from agnn_pyg.setting_rules import MESSAGE_RULES, RULES
from tests.agnn_pyg.conftest import SETTINGS

pytest.importorskip('pytorch_lightning')

WRONG = [
    ({'epochs': 0}, "'epochs' must be at least 1 and whole .got 0"),
    ({'epochs': 2.5}, "'epochs' must be at least 1 and whole .got 2.5"),
    ({'epochs': 'abc'}, "'epochs' must be at least 1 and whole .got 'abc'"),
    ({'epochs': True}, "'epochs' must be .* .got True"),
    ({'epochs': None}, "'epochs' must be .* .got None"),
    ({'patience': 0}, "'patience' must be at least 1 and whole, or None .got 0"),
    ({'patience': 2}, "'patience' needs 'validation' to watch .got 2 .*; pass some"),
    ({'message_share': 1.5}, r"'message_share' must be a share in \[0, 1\] .got 1.5"),
    ({'message_share': np.nan}, "'message_share' must be a share"),
    ({'message_folds': 1}, "'message_folds' must be at least 2"),
    ({'message_steps': -1}, "'message_steps' must be at least 0"),
    ({'message_shared': -3}, "'message_shared' must be at least 0"),
    ({'message_patterns': []}, "'message_patterns' must be of .*warm.*, one at least"),
    ({'message_patterns': {'warm'}}, "'message_patterns' must be of .*, in a list"),
    ({'message_kinds': None}, "'message_kinds' must be of .*, in a list .got None"),
    ({'cold_rate': 0.5}, "'cold_rate' must be two shares .* .got 0.5"),
    ({'cold_rate': (0.1, 2)}, r"'cold_rate' must be two shares in \[0, 1\], for users"),
    ({'draws': 0}, "'draws' must be at least 1"),
    ({'seed': -1}, "'seed' must be at least 0 and whole, at most 9223372036854775807"),
    ({'seed': 2**63}, "'seed' must be .*, at most 9223372036854775807"),
    ({'seed': '7'}, "'seed' must be .* .got '7'"),
    ({'batch_size': 0}, "'batch_size' must be at least 1"),
    ({'channels': 0}, "'channels' must be at least 1"),
    ({'hidden_channels': 8.0}, "'hidden_channels' must be at least 1 and whole"),
    ({'dropout': 1.0}, r"'dropout' must be a share in \[0, 1\)"),
    ({'lr': 0}, "'lr' must be a positive number"),
    ({'lr': np.inf}, "'lr' must be a positive number .got inf"),
    ({'preference_weight': -1}, "'preference_weight' must be zero or positive"),
    ({'preference': 'no'}, "'preference' must be True or False .got 'no'"),
    ({'pool': 0}, r"'pool' must be a share in \(0, 1\]"),
    ({'user_attributes': 'age'}, r"'user_attributes' must be .* as \['age'\].*'age'\)"),
    ({'item_attributes': {'genre'}}, "'item_attributes' must be a list of columns"),
    ({'accelerator': 'cpuu'}, "'accelerator' must be .* that is here.*'cpuu'"),
    ({'cold_rate': {0.1, 0.5}}, "'cold_rate' must be two shares in"),
    ({'item': 'message'}, "must not be columns that are made beside them, .*'message'"),
    ({'item': 'user'}, r"must be three columns .got \['user', 'user', 'rating'\]"),
]


@pytest.mark.parametrize(('settings', 'message'), WRONG)
def test_wrong_settings(settings, message, planted, monkeypatch):
    monkeypatch.setattr(fitting, 'read_rated_pairs', lambda *_: pytest.fail('late'))
    with pytest.raises(ValueError, match=message):
        AGNNRecommender(**SETTINGS | settings).fit(planted.ratings)


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'draws': 0}, "'draws' must be at least 1"),
        ({'pool': 2}, r"'pool' must be a share in \(0, 1\]"),
        ({'user': ['id']}, 'must each name one column'),
    ],
)
def test_settings_that_predictions_read(changed, message, recommender, planted):
    """They may be wrong only since the fit."""
    model = copy.copy(recommender).set_params(**changed)
    user, item = planted.ratings[['user', 'item']].iloc[0]
    for asked in (
        lambda: model.predict(planted.ratings),
        lambda: model.recommend([user]),
        lambda: model.explain(user, item),
    ):
        with pytest.raises(ValueError, match=message):
            asked()


def test_every_setting_has_a_rule():
    rest = set(AGNNRecommender().get_params()) - {'user', 'item', 'rating'}
    assert rest == {*RULES, *MESSAGE_RULES}


def test_numbers_of_numpy(recommender, planted, tmp_path):
    names = ('epochs', 'seed', 'channels', 'batch_size', 'draws', 'message_folds')
    given = {name: np.int64(getattr(recommender, name)) for name in names}
    given |= {'lr': np.float64(0.01), 'cold_rate': np.array([0.1, 0.5])}
    model = AGNNRecommender(**SETTINGS | given)
    model.fit(planted.ratings, planted.users, planted.items)
    known = planted.ratings.iloc[:20]
    assert (model.predict(known) == recommender.predict(known)).all()
    model.save(tmp_path / 'model')
    loaded = AGNNRecommender.load(tmp_path / 'model')
    assert loaded.get_params() == recommender.get_params()


@pytest.mark.parametrize('k', [2.5, '3', None, True, 0])
def test_lengths_of_lists(k, recommender, planted):
    with pytest.raises(
        ValueError, match=f"'k' must be at least 1 and whole .got {k!r}"
    ):
        recommender.recommend(planted.new_users, k=k)
    top = recommender.recommend(planted.new_users, k=np.int64(2))
    assert len(top) == 2 * len(planted.new_users)


@pytest.mark.parametrize(
    'setting', ['epochs=abc', 'cold_rate=0.5', 'user_attributes=x']
)
def test_wrong_settings_in_the_shell(setting, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = {'user': [1, 2], 'item': [1, 1], 'rating': [1, 2]}
    pd.DataFrame(rows).to_csv('r.csv', index=False)
    assert main(['fit', 'r.csv', '--model', 'm', '--set', setting]) == 2
    name = setting.partition('=')[0]
    assert capsys.readouterr().err.startswith(f"error: '{name}' must be ")
