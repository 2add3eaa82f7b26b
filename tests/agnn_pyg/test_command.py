"""The command with its recommender; the rest is tested in base/test_cli.py."""

import copy
import io
import shlex

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.__main__ import main
from agnn_pyg.base.store import read_notes
from agnn_pyg.recommender import AGNNRecommender

QUICK = '--quiet --set epochs=4 --set channels=8 --set batch_size=256 --set min_count=2'
QUICK += ' --set kernel_steps=1 --set cv_folds=2'


def shell(main, line, code=0):
    """Runs a command as it is typed."""
    assert main(shlex.split(line)) == code


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
def test_the_digits_of_the_shell_are_those_of_python(suffix, named, here, capsys):
    write(named, here, suffix)
    tables = f'ratings{suffix} --users users{suffix} --items items{suffix}'
    shell(main, f'fit {tables} --lists genre --model model {QUICK}')
    assert capsys.readouterr() == ('', '')
    model, later = AGNNRecommender.load('model'), named['later']
    news = named['new_users'], named['new_items']
    new = f'--users new_users{suffix} --items new_items{suffix} --model model'

    rating = model.predict(later, *news)
    before = (here / f'later{suffix}').read_bytes()
    shell(main, f'predict later{suffix} {new} --out ./later{suffix}', 2)
    assert f"'./later{suffix}'" in capsys.readouterr().err
    assert (here / f'later{suffix}').read_bytes() == before
    shell(main, f'predict later{suffix} {new}')
    made = printed(capsys)
    assert list(made.columns) == ['user', 'item', 'rating']
    assert made['rating'].tolist() == rating.tolist()
    shell(main, f'evaluate later{suffix} {new}')
    lines = capsys.readouterr().out.splitlines()
    expected = {'ratings': len(later), **model.evaluate(later, *news)}
    assert lines[1:] == [f'{name},{value}' for name, value in expected.items()]
    shell(main, f'recommend -k 3 {new}')
    expected = model.recommend(news[0], 3, news[1])
    pd.testing.assert_frame_equal(printed(capsys), expected, check_dtype=False)
    user, item = later.iloc[0][['user', 'item']]
    shell(main, f'explain {user} {item} {new}')
    assert capsys.readouterr().out == f'{model.explain(user, item, *news)}\n'


def test_first_ratings_of_new_users_in_the_shell(recommender, planted, here, capsys):
    recommender.save('model', list_separator='|')
    users, seen = planted.new_users, planted.items['item'].iloc[:6]
    one, other = users['user'].iloc[:2]
    first = pd.DataFrame({'user': one, 'item': seen, 'rating': 5.0})
    first.loc[5, ['user', 'rating']] = other, 1.0
    held_out = planted.later[planted.later['user'].isin(users['user'])]
    held_out = held_out[held_out['item'].isin({*planted.items['item']} - {*seen})]
    write(vars(planted) | {'first': first, 'later_pairs': held_out}, here)
    new = '--support first.csv --users new_users.csv --model model --quiet'

    shell(main, f'predict later_pairs.csv {new}')
    rating = recommender.predict(held_out, users, ratings=first)
    assert printed(capsys)['rating'].tolist() == rating.tolist()
    shell(main, f'evaluate later_pairs.csv {new}')
    scores = printed(capsys).set_index('metric')['value'].to_dict()
    expected = recommender.evaluate(held_out, users, support=first)
    assert scores == {'ratings': len(held_out), **expected}
    assert expected['rmse'] != recommender.evaluate(held_out, users)['rmse']
    error = rating - held_out['rating']
    assert expected['rmse'] == pytest.approx((error**2).mean() ** 0.5)
    every = recommender.recommend(users, 2, ratings=first).set_index('user')
    for ids in ([one], [other, one], []):
        shell(main, f'recommend {" ".join(map(str, ids))} -k 2 {new}')
        expected = every.loc[ids or [*users['user']]].reset_index()
        pd.testing.assert_frame_equal(printed(capsys), expected, check_dtype=False)
    shell(main, 'recommend -k 1 --support first.csv --model model')
    out, err = capsys.readouterr()
    assert pd.read_csv(io.StringIO(out))['user'].tolist() == [one, other]
    assert 'new users without attributes' in err
    item = held_out['item'].iloc[0]
    shell(main, f'explain {one} {item} {new}')
    found = recommender.explain(one, item, users, ratings=first)
    assert capsys.readouterr().out == f'{found}\n'


def test_update_in_the_shell_is_that_of_python(recommender, planted, here, capsys):
    recommender.save('model', list_separator='|')
    write(vars(planted), here)
    new = ['--users', 'new_users.csv', '--items', 'new_items.csv', '--model', 'model']
    assert main(['update', 'later.csv', *new, '--quiet']) == 0
    assert capsys.readouterr() == ('', '')
    assert read_notes('model') == {'list_separator': '|'}
    expected = copy.copy(recommender)
    expected.update(planted.later, planted.new_users, planted.new_items)
    found = AGNNRecommender.load('model').predict(planted.later)
    assert found.equals(expected.predict(planted.later))
    assert main(['update', 'later.csv', '--users', 'ratings.csv', *new[2:]]) == 2
    assert "'users" in capsys.readouterr().err
    assert main(['recommend', '99', '--model', 'model']) == 2
    assert "'99' is not" in capsys.readouterr().err
    assert AGNNRecommender.load('model').predict(planted.later).equals(found)


def test_clicks_without_ratings(named, here, capsys):
    later, items = named['later'], named['new_items']
    later = later[later['user'].isin(named['ratings']['user'])]
    write(named | {'later': later}, here)
    fit = 'fit ratings.csv --items items.csv --lists genre --rating none'
    quick = QUICK.replace('--set kernel_steps=1', '')  # which counts for ratings
    shell(main, f'{fit} --set weight=rating {quick} --model model')
    capsys.readouterr()
    model, new = AGNNRecommender.load('model'), '--items new_items.csv --model model'
    assert (model.rating, model.weight) == (None, 'rating')
    shell(main, f'evaluate later.csv -k 5 {new}')
    scores = printed(capsys).set_index('metric')['value'].to_dict()
    assert scores == {'ratings': len(later), **model.evaluate(later, None, items, k=5)}
    shell(main, f'evaluate later.csv --rating rating {new}', code=2)
    assert "'--rating rating'" in capsys.readouterr().err
    shell(main, f'predict later.csv {new}')
    made = printed(capsys)
    assert list(made.columns) == ['user', 'item', 'score']
    assert made['score'].tolist() == model.predict(later, items=items).tolist()


def test_columns_of_all_types(here, capsys):
    """Lists of numbers, words and dates of a text file, as of a frame."""
    user, sku = map(np.ravel, np.indices((12, 30)))
    stars = 1 + 3 * (sku % 2) + user % 2
    frame = pd.DataFrame({'customer': user, 'sku': sku, 'stars': stars})
    number = np.random.default_rng(0).normal(size=(30, 2)) + 9 * (stars[:30, None] > 2)
    items = pd.DataFrame({'sku': range(30), 'emb': number.round(3).tolist()})
    items['plot'] = [f'{"good" if n % 2 else "bad"} one of {n}' for n in range(30)]
    items['day'] = pd.date_range('2020-01-01', periods=30)
    text = items.assign(emb=['|'.join(map(str, v)) for v in items['emb']])
    later = pd.DataFrame({'customer': '3', 'sku': range(100, 130)})
    new = text.assign(sku=text['sku'] + 100)
    write({'orders': frame, 'items': text, 'new': new, 'pairs': later}, here)
    types = "{'emb': 'vector', 'plot': 'text', 'day': None}"
    types = f'--lists emb --set "item_attributes={types}" --set kernel_weight=0'
    shell(main, f'fit orders.csv --items items.csv --model m {types} {QUICK}')
    model = AGNNRecommender.load('m')
    assert [c.stype for c in model.column_encoders_[1:]] == ['vector', 'text', 'date']
    shell(main, 'predict pairs.csv --items new.csv --model m')
    new = items.assign(sku=(items['sku'] + 100).map(str))
    expected = model.predict(later.astype(str), items=new)
    assert printed(capsys)['stars'].tolist() == expected.tolist()
