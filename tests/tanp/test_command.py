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
