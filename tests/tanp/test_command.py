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

    some = films().iloc[:4]
    some[['item']].to_csv('some.csv', index=False)
    assert main(['recommend', 'ü101', '--items', 'some.csv', *support]) == 0
    top = pd.read_csv(io.StringIO(capsys.readouterr().out))
    expected = adapted.recommend(['ü101'], items=some)
    pd.testing.assert_frame_equal(top, expected, check_dtype=False)

    assert main(['recommend', 'nobody', *support]) == 2
    error = capsys.readouterr().err
    assert 'was not adapted to' in error
    assert 'add what this user has rated to the support' in error


def test_lists_of_users_are_read_as_in_the_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    halves(np.arange(30)).to_csv('ratings.csv', index=False)
    halves(np.arange(100, 104)).to_csv('first.csv', index=False)
    for name, people in {'users': range(30), 'new': range(100, 104)}.items():
        tags = [f'{"ab"[user % 2]};{"cd"[user // 2 % 2]}' for user in people]
        frame = pd.DataFrame({'user': people, 'tags': tags})
        frame.to_csv(f'{name}.csv', index=False)
    fit = ['fit', 'ratings.csv', '--users', 'users.csv', '--lists', 'tags', *MODEL]
    fit += ['--list-separator', ';', '--quiet', '--set', 'epochs=1']
    assert main(fit) == 0
    capsys.readouterr()
    recommend = ['recommend', '--support', 'first.csv', '--users', 'new.csv', *MODEL]
    assert main(recommend) == 0
    told = capsys.readouterr().out
    assert main([*recommend, '--lists', 'tags', '--list-separator', ';']) == 0
    assert capsys.readouterr().out == told
    # Tags that are not taken apart are not those of the fit.
    assert main([*recommend, '--list-separator', '|']) == 0
    assert capsys.readouterr().out != told


def test_a_place_for_the_model_is_looked_for_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # There is no table either, which is found out later.
    assert main(['fit', 'r.csv', '--model', 'nowhere/m']) == 2
    assert "There is no folder 'nowhere' to write to" in capsys.readouterr().err


def test_users_of_a_fit_in_python_are_known(tmp_path, monkeypatch, capsys):
    """Ids are read as numbers where the model's are, else known users are strangers."""
    monkeypatch.chdir(tmp_path)
    ratings = halves(np.arange(30))
    model = TaNPRecommender(epochs=1, support_size=6).fit(ratings)
    model.save('model')
    known = ratings[ratings['user'] < 2]
    known.to_csv('known.csv', index=False)
    assert main(['predict', 'known.csv', '--support', 'known.csv', *MODEL]) == 0
    found = pd.read_csv(io.StringIO(capsys.readouterr().out))['rating']
    expected = model.adapt(known).predict(known)['rating']
    assert np.allclose(found, expected, atol=1e-6)
    strangers = known.assign(user=known['user'] + 500)
    strange = model.adapt(strangers).predict(strangers)['rating']
    assert not np.allclose(found, strange, atol=1e-4)

    known.assign(user='me').to_csv('me.csv', index=False)
    assert main(['recommend', '--support', 'me.csv', *MODEL]) == 2
    assert "'me.csv' has no int id in column 'user'" in capsys.readouterr().err


def test_help_has_an_example(capsys):
    for command in ('fit', 'evaluate', 'predict', 'recommend'):
        with pytest.raises(SystemExit) as stopped:
            main([command, '--help'])
        assert stopped.value.code == 0
        assert f'example:\n  tanp {command}' in capsys.readouterr().out


def test_the_fit_says_how_well_it_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    halves(np.arange(30)).to_csv('ratings.csv', index=False)
    halves(np.arange(100, 104)).to_csv('others.csv', index=False)
    fit = ['fit', 'ratings.csv', '--validation', 'others.csv', *MODEL]
    assert main([*fit, '--set', 'epochs=1', 'progress=False']) == 0
    history = TaNPRecommender.load('model').history_[0]
    scores = (
        f'train_loss {history["train_loss"]:.4f}, val_loss {history["val_loss"]:.4f}'
    )
    assert (
        f"'model' holds the model after 1 epochs: {scores}" in capsys.readouterr().err
    )
