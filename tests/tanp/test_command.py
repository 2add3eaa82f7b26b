"""The command with its recommender; files are tested in agnn_pyg/base/test_cli.py."""

import io

import numpy as np
import pandas as pd
import pytest

from tanp import TaNPRecommender
from tanp.__main__ import main
from tests.tanp.test_recommender import films, halves

pytest.importorskip('pytorch_lightning')
MODEL = ['--model', 'model']


def printed(capsys):
    return pd.read_csv(io.StringIO(capsys.readouterr().out))


@pytest.mark.parametrize('suffix', ['.csv', '.parquet'])
def test_the_digits_of_the_shell_are_those_of_python(
    suffix, tmp_path, monkeypatch, capsys
):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow')
    monkeypatch.chdir(tmp_path)
    later = halves(np.arange(100, 106)).assign(
        user=lambda f: f['user'].map('ü{}'.format)
    )
    first = later.groupby('user').cumcount() < 5
    frames = {'ratings': halves(np.arange(30)), 'items': films()}
    frames |= {'first': later[first], 'later': later[~first]}
    for name, frame in frames.items():
        if suffix == '.parquet':
            frame.to_parquet(f'{name}{suffix}', index=False)
        else:
            lists = {c: frame[c].map('|'.join) for c in frame if c == 'genre'}
            frame.assign(**lists).to_csv(f'{name}{suffix}', index=False)
    fit = ['fit', f'ratings{suffix}', '--items', f'items{suffix}', '--lists', 'genre']
    fit += ['--set', 'epochs=2', '--set', 'ensemble_size=2', '--quiet', *MODEL]
    assert main(fit) == 0
    assert capsys.readouterr().out == ''
    adapted = TaNPRecommender.load('model').adapt(later[first])
    support = ['--support', f'first{suffix}', *MODEL]

    predicted = adapted.predict(later[~first])
    assert main(['predict', f'later{suffix}', *support]) == 0
    made = printed(capsys)
    assert list(made.columns) == ['user', 'item', 'rating', 'score', 'std']
    for column in ('rating', 'std'):
        assert made[column].tolist() == predicted[column].tolist()
    assert main(['evaluate', f'later{suffix}', *support]) == 0
    error = predicted['rating'] - later['rating'][~first]
    expected = [len(error), np.sqrt((error**2).mean()), error.abs().mean()]
    assert printed(capsys)['value'].tolist() == pytest.approx(expected)
    assert main(['recommend', 'ü101', '-k', '3', *support]) == 0
    expected = adapted.recommend(['ü101'], 3)
    pd.testing.assert_frame_equal(printed(capsys), expected, check_dtype=False)
    some = films().iloc[:4]
    some[['item']].to_csv('some.csv', index=False)
    assert main(['recommend', 'ü101', '--items', 'some.csv', *support]) == 0
    expected = adapted.recommend(['ü101'], items=some)
    pd.testing.assert_frame_equal(printed(capsys), expected, check_dtype=False)
    assert main(['recommend', 'nobody', *support]) == 2
    assert "'nobody'" in capsys.readouterr().err


def test_clicks_new_items_and_explanations(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clicks = halves(np.arange(34))
    clicks = clicks[clicks['rating'] > 3].drop(columns='rating').assign(plays=2.0)
    is_new = clicks['user'] >= 30
    clicks['user'] = clicks['user'].map('u{}'.format)
    first = clicks[is_new]
    clicks[~is_new].to_csv('clicks.csv', index=False)
    first.to_csv('first.csv', index=False)
    new = pd.DataFrame({'item': ['new film'], 'genre': ['war|sea']})
    new.to_csv('new.csv', index=False)
    lists = films().assign(genre=films()['genre'].map('|'.join))
    lists.to_csv('films.csv', index=False)
    fit = ['fit', 'clicks.csv', '--items', 'films.csv', '--lists', 'genre', *MODEL]
    for setting in ('rating=None', 'weight=plays', 'epochs=1', 'support_sizes=[1,6]'):
        fit += ['--set', setting]
    assert main([*fit, '--quiet']) == 0
    capsys.readouterr()
    adapted = TaNPRecommender.load('model').adapt(first)
    new['genre'] = [['war', 'sea']]
    support = ['--support', 'first.csv', '--items', 'new.csv', *MODEL]
    assert main(['recommend', 'u31', *support]) == 0
    expected = adapted.recommend(['u31'], items=new)
    pd.testing.assert_frame_equal(printed(capsys), expected, check_dtype=False)
    assert main(['explain', 'u31', 'new film', *support]) == 0
    assert capsys.readouterr().out == f'{adapted.explain("u31", "new film", new)}\n'
    assert main(['evaluate', 'first.csv', *support[:2], *MODEL]) == 2
    assert 'ratings' in capsys.readouterr().err
