import io

import numpy as np
import pandas as pd
import pytest

from tanp.command import main
from tanp.recommender import TaNPRecommender
from tests.tanp.test_recommender import films, halves

pytest.importorskip('pytorch_lightning')
MODEL = ['--model', 'model']


@pytest.mark.parametrize('suffix', ['.csv', '.parquet'])
def test_the_whole_round(suffix, tmp_path, monkeypatch, capsys):
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
    assert main([*fit, *MODEL, '--quiet', '--set', 'epochs=2', 'members=2']) == 0
    assert capsys.readouterr().out == ''
    support = ['--support', f'first{suffix}', *MODEL]
    model = TaNPRecommender.load('model')
    adapted = model.adapt(later[first])

    assert main(['evaluate', f'later{suffix}', *support]) == 0
    scores = pd.read_csv(io.StringIO(capsys.readouterr().out), index_col='metric')
    error = adapted.predict(later[~first])['rating'] - later['rating'][~first]
    expected = [len(error), np.sqrt((error**2).mean()), error.abs().mean()]
    assert scores['value'].tolist() == pytest.approx(expected, abs=1e-6)

    out = ['--out', f'made{suffix}']
    assert main(['predict', f'later{suffix}', *support, *out]) == 0
    made = (pd.read_parquet if suffix == '.parquet' else pd.read_csv)(f'made{suffix}')
    assert list(made.columns) == ['user', 'item', 'rating', 'std']
    assert np.allclose(made['std'], adapted.predict(later[~first])['std'], atol=1e-6)

    assert main(['recommend', 'ü101', '-k', '3', *support]) == 0
    top = pd.read_csv(io.StringIO(capsys.readouterr().out))
    expected = adapted.recommend(['ü101'], 3)
    pd.testing.assert_frame_equal(top, expected, check_dtype=False)

    assert main(['recommend', 'nobody', *support]) == 2
    assert 'was not adapted to' in capsys.readouterr().err


def test_a_place_for_the_model_is_looked_for_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # There is no table either, which is found out later.
    assert main(['fit', 'r.csv', '--model', 'nowhere/m']) == 2
    assert "There is no folder 'nowhere' to write to" in capsys.readouterr().err


def test_help_has_an_example(capsys):
    for command in ('fit', 'evaluate', 'predict', 'recommend'):
        with pytest.raises(SystemExit) as stopped:
            main([command, '--help'])
        assert stopped.value.code == 0
        assert f'example:\n  tanp {command}' in capsys.readouterr().out
