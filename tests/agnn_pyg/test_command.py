"""The command with its recommender; the rest is tested in base/test_cli.py."""

import io

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.__main__ import main
from agnn_pyg.recommender import AGNNRecommender

pytest.importorskip('pytorch_lightning')
QUICK = ('epochs=4', 'channels=8', 'batch_size=256', 'min_count=2')
QUICK += ('kernel_steps=1', 'cv_folds=2')
QUICK = [part for setting in QUICK for part in ('--set', setting)]
NETWORK = ['--set', 'kernel_weight=0', '--quiet']


@pytest.fixture(scope='module')
def named(planted):
    """The planted tables with ids as texts, as they come from elsewhere."""

    def convert(frame):
        ids = {side: f'{side[0]}é-' for side in ('user', 'item') if side in frame}
        return frame.assign(**{s: t + frame[s].astype(str) for s, t in ids.items()})

    return {name: convert(frame) for name, frame in vars(planted).items()}


def write(frames, folder, suffix='.csv'):
    for name, frame in frames.items():
        path = folder / f'{name}{suffix}'
        if suffix == '.parquet':
            frame.to_parquet(path, index=False)
        else:
            lists = {c: frame[c].map('|'.join) for c in frame if c == 'genre'}
            frame.assign(**lists).to_csv(path, index=False)


def printed(capsys):
    return pd.read_csv(io.StringIO(capsys.readouterr().out))


@pytest.mark.parametrize('suffix', ['.csv', '.parquet'])
def test_the_digits_of_the_shell_are_those_of_python(
    suffix, named, tmp_path, monkeypatch, capsys
):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow')
    monkeypatch.chdir(tmp_path)
    write(named, tmp_path, suffix)
    tables = ['--users', f'users{suffix}', '--items', f'items{suffix}']
    fit = ['fit', f'ratings{suffix}', *tables, '--lists', 'genre', '--model', 'model']
    assert main([*fit, *QUICK, '--quiet']) == 0
    assert capsys.readouterr() == ('', '')
    model, later = AGNNRecommender.load('model'), named['later']
    news = named['new_users'], named['new_items']
    new = ['--users', f'new_users{suffix}', '--items', f'new_items{suffix}']
    new += ['--model', 'model']

    rating = model.predict(later, *news)
    assert main(['predict', f'later{suffix}', *new]) == 0
    made = printed(capsys)
    assert list(made.columns) == ['user', 'item', 'rating']
    assert made['rating'].tolist() == rating.tolist()
    assert main(['evaluate', f'later{suffix}', *new]) == 0
    scores = printed(capsys).set_index('metric')['value'].to_dict()
    assert scores == {'ratings': len(later), **model.evaluate(later, *news)}
    assert main(['recommend', '-k', '3', *new]) == 0
    expected = model.recommend(news[0], 3, news[1])
    pd.testing.assert_frame_equal(printed(capsys), expected, check_dtype=False)
    user, item = later.iloc[0][['user', 'item']]
    assert main(['explain', user, item, *new]) == 0
    assert capsys.readouterr().out == f'{model.explain(user, item, *news)}\n'


def test_clicks_without_ratings(named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(named, tmp_path)
    fit = ['fit', 'ratings.csv', '--items', 'items.csv', '--lists', 'genre', '--quiet']
    fit += ['--set', 'weight=rating', '--set', 'cv_folds=2', '--model', 'model']
    assert main([*fit, '--rating', 'none']) == 0
    capsys.readouterr()
    model, items = AGNNRecommender.load('model'), named['new_items']
    assert (model.rating, model.weight) == (None, 'rating')
    later = named['later']
    later = later[later['user'].isin(named['ratings']['user'])]
    later.to_csv('later.csv', index=False)
    new = ['--items', 'new_items.csv', '--model', 'model']
    assert main(['evaluate', 'later.csv', '-k', '5', *new]) == 0
    scores = printed(capsys).set_index('metric')['value'].to_dict()
    assert scores == {'ratings': len(later), **model.evaluate(later, None, items, k=5)}
    assert main(['predict', 'later.csv', *new]) == 0
    made = printed(capsys)
    assert list(made.columns) == ['user', 'item', 'score']
    assert made['score'].tolist() == model.predict(later, items=items).tolist()
    user, item = later.iloc[0][['user', 'item']]
    assert main(['recommend', user, '-k', '2', *new]) == 0
    assert list(printed(capsys).columns) == ['user', 'item', 'score', 'rank']
    assert main(['explain', user, item, *new]) == 0
    assert capsys.readouterr().out.startswith(f'user {user}, item {item}: ')


def test_columns_of_all_types(tmp_path, monkeypatch, capsys):
    """Lists of numbers, words and dates of a text file, as of a frame."""
    monkeypatch.chdir(tmp_path)
    user, sku = map(np.ravel, np.indices((12, 30)))
    stars = 1 + 3 * (sku % 2) + user % 2
    frame = pd.DataFrame({'customer': user, 'sku': sku, 'stars': stars})
    frame.to_csv('orders.csv', index=False)
    number = (
        np.random.default_rng(0).normal(size=(30, 2)) + 9 * (np.arange(30) % 2)[:, None]
    )
    items = pd.DataFrame({'sku': range(30), 'emb': number.round(3).tolist()})
    items['plot'] = [f'{"good" if n % 2 else "bad"} one of {n}' for n in range(30)]
    items['day'] = pd.date_range('2020-01-01', periods=30)
    text = items.assign(emb=['|'.join(map(str, v)) for v in items['emb']])
    text.to_csv('items.csv', index=False)
    fit = [
        'fit',
        'orders.csv',
        '--items',
        'items.csv',
        '--lists',
        'emb',
        '--model',
        'm',
    ]
    types = "{'emb': 'vector', 'plot': 'text', 'day': None}"
    assert main([*fit, *QUICK, *NETWORK, '--set', f'item_attributes={types}']) == 0
    model = AGNNRecommender.load('m')
    assert [c.stype for c in model.column_encoders_[1:]] == ['vector', 'text', 'date']
    text.assign(sku=text['sku'] + 100).to_csv('new.csv', index=False)
    later = pd.DataFrame({'customer': '3', 'sku': range(100, 130)})
    later.to_csv('pairs.csv', index=False)
    assert main(['predict', 'pairs.csv', '--items', 'new.csv', '--model', 'm']) == 0
    new = items.assign(sku=(items['sku'] + 100).map(str))
    expected = model.predict(later.astype(str), items=new)
    assert printed(capsys)['stars'].tolist() == expected.tolist()


def test_ids_as_the_model_knows_them(recommender, planted, tmp_path, capsys):
    """A model fitted in Python on whole numbers, and texts in a file."""
    recommender.save(tmp_path / 'm')
    model = ['--model', str(tmp_path / 'm')]
    user = str(planted.users['user'].iloc[0])
    assert main(['recommend', user, '-k', '1', *model]) == 0
    assert printed(capsys)['user'].tolist() == [int(user)]
    pairs = tmp_path / 'pairs.csv'
    pairs.write_text(f'item,user\n2001,{user}\n2001,someone\n')
    for arguments, found in (
        (['recommend', 'x7'], "'x7'"),
        (['predict', str(pairs)], "int id in column 'user'"),
    ):
        assert main([*arguments, *model]) == 2
        assert found in capsys.readouterr().err
