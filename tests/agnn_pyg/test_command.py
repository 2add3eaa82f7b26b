import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.command import main
from agnn_pyg.recommender import AGNNRecommender

pytest.importorskip('pytorch_lightning')
ROOT = Path(__file__).parents[2]
QUICK = ['--set', 'epochs=4', 'channels=8', 'batch_size=256', 'min_count=2']
QUICK += ['kernel_steps=1', 'cv_folds=2']


@pytest.fixture(scope='module')
def named(planted):
    """The planted tables with ids as texts, as they come from elsewhere."""

    def convert(frame):
        ids = {side: f'{side[0]}é-' for side in ('user', 'item') if side in frame}
        return frame.assign(**{s: t + frame[s].astype(str) for s, t in ids.items()})

    return {name: convert(frame) for name, frame in vars(planted).items()}


def write(frame, path):
    if path.suffix == '.parquet':
        frame.to_parquet(path, index=False)
    else:
        join = '|'.join
        lists = {c: frame[c].map(join) for c in frame if c == 'genre'}
        frame.assign(**lists).to_csv(path, index=False)


@pytest.mark.parametrize('suffix', ['.csv', '.parquet'])
def test_the_whole_round(suffix, named, tmp_path, monkeypatch, capsys):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow')
    monkeypatch.chdir(tmp_path)
    for name, frame in named.items():
        write(frame, tmp_path / f'{name}{suffix}')
    lists = ['--lists', 'genre', '--model', 'model']
    tables = ['--users', f'users{suffix}', '--items', f'items{suffix}']
    new = ['--users', f'new_users{suffix}', '--items', f'new_items{suffix}', *lists]

    assert main(['fit', f'ratings{suffix}', *tables, *lists, *QUICK, '--quiet']) == 0
    out, err = capsys.readouterr()
    assert out == err == ''

    assert main(['evaluate', f'later{suffix}', *new]) == 0
    out, _ = capsys.readouterr()
    scores = pd.read_csv(io.StringIO(out), index_col='metric')['value']
    later = named['later']
    model = AGNNRecommender.load('model')
    rating = model.predict(later, named['new_users'], named['new_items'])
    error = rating - later['rating']
    assert scores['ratings'] == len(later)
    assert scores['rmse'] == pytest.approx(np.sqrt((error**2).mean()), abs=1e-6)
    assert scores['mae'] == pytest.approx(error.abs().mean(), abs=1e-6)

    assert main(['predict', f'later{suffix}', *new, '--out', f'made{suffix}']) == 0
    read = pd.read_parquet if suffix == '.parquet' else pd.read_csv
    made = read(f'made{suffix}')
    assert list(made.columns) == ['user', 'item', 'rating']
    assert np.allclose(made['rating'], rating, atol=1e-6)

    assert main(['recommend', '-k', '3', *new]) == 0
    top = pd.read_csv(io.StringIO(capsys.readouterr().out))
    expected = model.recommend(named['new_users'], 3, named['new_items'])
    pd.testing.assert_frame_equal(top, expected, check_dtype=False)

    user, item = later.iloc[0][['user', 'item']]
    assert main(['explain', user, item, *new]) == 0
    assert capsys.readouterr().out.startswith(f'user {user}, item {item}:')


def test_the_shape_of_movielens_latest_small(tmp_path, monkeypatch, capsys):
    """No table of users, half stars, genres between bars: two flags."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    user, movie = (rng.random((30, 40)) < 0.4).nonzero()
    genres = rng.choice(['Comedy', 'Comedy|War', 'War|Drama'], 40)
    half = 6 + 3 * (genres[movie] == 'Comedy') - (user % 3)
    pd.DataFrame(
        {'userId': user + 1, 'movieId': movie + 1, 'rating': half / 2, 'timestamp': 964}
    ).to_csv('ratings.csv', index=False, lineterminator='\r\n')
    movies = pd.DataFrame({'movieId': np.arange(40) + 1, 'genres': genres})
    movies.insert(1, 'title', [f'“Film”, {i} (1999)' for i in range(40)])
    movies.to_csv('movies.csv', index=False, encoding='utf-8-sig', sep=';')

    fit = ['fit', 'ratings.csv', '--items', 'movies.csv', '--lists', 'genres']
    assert main([*fit, '--model', 'films', *QUICK, '--quiet']) == 0
    columns = AGNNRecommender.load('films').fitted_.tables['item'].embedded.columns
    assert list(columns) == ['genres']
    assert capsys.readouterr().err == ''
    assert main([*fit, '--model', 'films', *QUICK, '--network-only']) == 0
    remarks = capsys.readouterr().err.splitlines()
    left_out = "Columns of 'items' left out: title (most values occur once); to keep"
    assert any(line.startswith(left_out) for line in remarks)

    movies.assign(movieId=movies['movieId'] + 100).to_csv('today.csv', index=False)
    pd.DataFrame({'movieId': [101, 1], 'userId': [7, 7]}).to_csv('pairs.csv')
    predict = ['predict', 'pairs.csv', '--items', 'today.csv', '--lists', 'genres']
    assert main([*predict, '--model', 'films']) == 0
    made = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(made.columns) == ['userId', 'movieId', 'rating']
    assert made['movieId'].tolist() == [101, 1]
    # The new film is of the genres of the old one, and that decides the rating.
    assert made['rating'].between(2, 4.5).all()

    assert main(['recommend', '7', '8', '-k', '2', '--model', 'films']) == 0
    top = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert top['userId'].tolist() == [7, 7, 8, 8]


def test_lists_are_read_as_in_the_fit(named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, frame in named.items():
        lists = {c: frame[c].map(';'.join) for c in frame if c == 'genre'}
        frame.assign(**lists).to_csv(f'{name}.csv', index=False)
    fit = ['fit', 'ratings.csv', '--items', 'items.csv', *QUICK, '--network-only']
    fit += ['--model', 'm', '--list-separator', ';']
    assert main([*fit, '--lists', 'genre']) == 0
    capsys.readouterr()
    recommend = ['recommend', named['users']['user'].iloc[0], '--model', 'm']
    recommend += ['--items', 'new_items.csv']
    assert main(recommend) == 0
    told = capsys.readouterr().out
    assert main([*recommend, '--lists', 'genre', '--list-separator', ';']) == 0
    assert capsys.readouterr().out == told
    assert main([*recommend, '--list-separator', '|']) == 0
    assert capsys.readouterr().out != told

    for arguments in ([*fit, '--lists', 'genres'], [*recommend, '--lists', 'genres']):
        assert main(arguments) == 2
        message = "'--lists' names a column 'genres', which no table has, did you mean"
        assert message in capsys.readouterr().err
    (tmp_path / 'm' / 'shell.json').write_text('[]')
    assert main(recommend) == 2
    assert "shell.json' is damaged" in capsys.readouterr().err


def test_texts_are_read_as_in_the_fit(tmp_path, monkeypatch, capsys):
    """A new file may hold no code with a letter, and then looks like numbers."""
    monkeypatch.chdir(tmp_path)
    user, item = map(np.ravel, np.indices((12, 9)))
    rating = 1 + 3 * (user % 3 == 0) + item % 2
    frame = pd.DataFrame({'user': user, 'item': item, 'rating': rating})
    frame.to_csv('ratings.csv', index=False)
    code = ['00123', '00456', '0012A']
    pd.DataFrame({'user': range(12), 'zip': 4 * code}).to_csv('users.csv', index=False)
    fit = ['fit', 'ratings.csv', '--users', 'users.csv', '--model', 'm', *QUICK]
    assert main([*fit, '--network-only', '--quiet']) == 0
    made = []
    for new in (code, code[:2]):
        people = pd.DataFrame({'user': range(50, 50 + len(new)), 'zip': new})
        people.to_csv('new.csv', index=False)
        people.assign(item=0).to_csv('pairs.csv', index=False)
        assert main(['predict', 'pairs.csv', '--users', 'new.csv', '--model', 'm']) == 0
        made.append(pd.read_csv(io.StringIO(capsys.readouterr().out))['rating'])
    assert made[1].tolist() == made[0].tolist()[:2]
    assert made[1].nunique() == 2


def test_which_messages(planted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planted.ratings.to_csv('ratings.csv', index=False)
    fit = ['fit', 'ratings.csv', '--model', 'm', *QUICK, 'epochs=1', '--quiet']
    for flags, share, patterns in (
        (['--messages-for', 'warm', 'user_cold'], 0.75, {'warm', 'user_cold'}),
        (['--network-only'], 0, None),
    ):
        assert main([*fit, *flags]) == 0
        model = AGNNRecommender.load('m')
        assert model.kernel_weight == share
        messages = model.fitted_.model.messages
        assert (messages and set(messages.parts)) == patterns


def test_as_a_process_of_its_own(planted, tmp_path):
    planted.ratings.to_csv(tmp_path / 'ratings.csv', index=False)
    command = [sys.executable, '-m', 'agnn_pyg']

    def run(*arguments):
        return subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env=os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
            capture_output=True,
            text=True,
        )

    ran = run(
        'fit', 'ratings.csv', '--model', 'm', '--network-only', '--set', 'epochs=1'
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ''
    assert "'m' holds the model after 1 epochs: train_mse" in ran.stderr
    ran = run('predict', 'nowhere.csv', '--model', 'm')
    assert ran.returncode == 2
    assert ran.stderr == "error: There is no file 'nowhere.csv'; check the path\n"


@pytest.mark.parametrize('command', ['fit', 'evaluate', 'predict', 'recommend'])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, '--help'])
    assert stopped.value.code == 0
    assert f'example:\n  agnn-pyg {command}' in capsys.readouterr().out


def test_help_without_a_command(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.startswith('usage: agnn-pyg')


def test_nobody_waits_for_pyg_who_asks_for_help():
    code = 'import sys; from agnn_pyg.command import main; main([]); '
    code += "sys.exit('torch_geometric' in sys.modules)"
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    subprocess.run(
        [sys.executable, '-c', code], env=environment, check=True, capture_output=True
    )


def test_arguments_that_are_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({'who': [1], 'item': [2], 'rating': [3]}).to_csv('r.csv', index=False)
    fit = ['fit', 'r.csv', '--model', 'm']
    for arguments, message in (
        (fit, "no column 'user'.*say --user NAME"),
        ([*fit, '--user', 'wh'], "did you mean 'who'"),
        # No guess stands in for what was named.
        ([*fit, '--user', 'who', '--item', 'items'], "did you mean 'item'.*it has who"),
        ([*fit, '--set', 'x'], 'takes NAME=VALUE'),
        ([*fit, '--set', 'epoch=1'], "mean 'epochs'"),
        (['predict', 'r.csv', '--model', 'm'], 'is no folder of a saved model'),
        (['recommend', '--model', 'm'], 'is no folder of a saved model'),
    ):
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert err.startswith('error: ')
        assert err.count('\n') == 1
        assert pytest.importorskip('re').search(message, err), err


def test_a_place_for_the_model_is_looked_for_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'dear.txt').write_text('diary')
    for name, message in (('notes', 'is there already'), ('no/m', "no folder 'no'")):
        # There is no table either, which is found out later.
        assert main(['fit', 'r.csv', '--model', name]) == 2
        assert message in capsys.readouterr().err


def test_ids_as_the_model_knows_them(recommender, planted, tmp_path, capsys):
    """A model fitted in Python on whole numbers, and texts in a file."""
    recommender.save(tmp_path / 'm')
    model = ['--model', str(tmp_path / 'm')]
    user = str(planted.users['user'].iloc[0])
    assert main(['recommend', user, '-k', '1', *model]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f'{user},')
    assert main(['recommend', 'x7', *model]) == 2
    assert "'x7' is not int, as the known ids are" in capsys.readouterr().err
    assert main(['recommend', *model]) == 2
    assert 'Name users or give a file' in capsys.readouterr().err
    pairs = tmp_path / 'pairs.csv'
    pairs.write_text(f'item,user\n2001,{user}\n2001,someone\n')
    assert main(['predict', str(pairs), *model]) == 2
    assert "no int id in column 'user'" in capsys.readouterr().err
