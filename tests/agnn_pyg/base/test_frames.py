"""Tables as they come: each is read once, or the row that is wrong is named."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from agnn_pyg.base.cells import CONSTANT
from agnn_pyg.base.checks import TableWarning
from agnn_pyg.base.frames import read_edges, read_pairs, read_ratings, read_tables
from agnn_pyg.base.io import as_lists
from agnn_pyg.base.nodes import read_new_nodes
from agnn_pyg.base.rating_scale import RatingScale
from agnn_pyg.base.recommender_config import ColumnsConfig
from agnn_pyg.base.vocabulary import read_distinct

CONFIG = ColumnsConfig()
LISTS = ["['a', 'b']", "{'a', 'b'}", '{a,b}', '[a, b]', "[np.str_('a'), np.str_('b')]"]
LISTS += ['[np.float64(0.5), np.float64(1.0)]', '[ 0.25 -1. ]']


@pytest.fixture
def tables():
    return {
        'ratings': pd.DataFrame(
            {'user': [3, 3, 1, 2, 2], 'item': [*'abaca'], 'rating': [5, 3, 4, 1, 2]}
        ),
        'users': pd.DataFrame(
            {'user': [1, 2, 3, 4], 'age': [10, 20, 30, 90]}
            | {'job': ['cook', 'cook', 'nurse', 'pilot']}
            | {'name': ['Ann', 'Bob', 'Cid', 'Dot']}
            | {'born': pd.to_datetime(['2000-01-01'] * 4)}
        ),
        'items': pd.DataFrame({'item': [*'abcd'], 'genre': [['x'], [*'xy'], [], 'z']}),
        'validation': pd.DataFrame({'user': [1], 'item': ['b'], 'rating': [4.5]}),
    }


def changed(row, **cells):
    def change(frame):
        frame = frame.astype(dict.fromkeys(cells, object))
        for column, value in cells.items():
            frame.at[row, column] = value
        return frame

    return change


def twice(frame):
    return pd.concat([frame, frame.iloc[[1]]], ignore_index=True)


def in_days(frame):
    return frame.assign(rating=pd.to_timedelta(frame['rating'], 'D'))


def test_rows_ratings_and_attributes(tables):
    with pytest.warns(
        UserWarning, match=r"'users' left out: name \(most .*'name': 'text'"
    ):
        read = read_tables(CONFIG, **tables)
    assert read.ratings.index.tolist() == [[2, 2, 0, 1, 1], [0, 1, 0, 2, 0]]
    assert read.ratings.rating.tolist() == [5, 3, 4, 1, 2]
    assert read.validation.index.tolist() == [[0], [1]]
    users, items = read.nodes['user'], read.nodes['item']
    assert [c.stype for c in users.columns] == ['numeric', 'categorical', 'date']
    assert [cells.stype for cells in items.columns] == ['multi']
    # The vocabulary of rated users has no pilot, and ages of 30 at most.
    fitted, bags = users.encode(1, 2, read.ratings.index[0])
    values = [c.values for c in fitted.column_encoders]
    assert values == [[10, 30], ['cook', 'nurse'], [10957]]
    assert bags.num_nodes == 4
    assert bags.index[3].tolist() == [2, 5, 0, 0]
    every, _ = users.encode(1, 2)
    assert every.column_encoders[1].values == ['cook', 'nurse', 'pilot']


def test_columns_that_are_alike_or_left_out():
    ratings = pd.DataFrame({'user': range(40), 'item': 1, 'rating': 20 * [0, 1]})
    users = pd.DataFrame({'user': range(40), 'Job': 'cook', 'job': 'nurse'})
    read = read_tables(CONFIG, ratings, users[['user']].assign(pay=users['user'] + 0.5))
    texts = users[['user']].assign(pay=[f'{n}.5' for n in range(40)])
    (column,) = read_tables(CONFIG, ratings, texts).nodes['user'].columns
    assert column.value.tolist() == read.nodes['user'].columns[0].value.tolist()
    for form, match in (
        ('{}', r"'pay': 'numeric'\} .*'cat"),
        ('{}.12.1999', "butes'$"),
    ):
        users['pay'] = [*map(form.format, range(40))]
        with (
            pytest.warns(UserWarning, match=f"'users' left out: pay .*{match}"),
            pytest.warns(UserWarning, match='Job, job'),
        ):
            read_tables(CONFIG, ratings, users)


def test_without_tables_of_nodes(tables):
    ratings = tables['ratings']
    later = tables['validation'].assign(user=9)
    with pytest.raises(ValueError, match=r"'validation' .* 'users'.*row 0 \(9\)"):
        read_tables(CONFIG, ratings, validation=later)
    read = read_tables(CONFIG, ratings, validation=later, new_users=True)
    assert read.nodes['user'].ids.values.tolist() == [1, 2, 3, 9]
    assert not read.nodes['user'].given
    fitted, bags = read.nodes['item'].encode(5, 8)
    assert list(fitted.columns) == [CONSTANT]
    assert len(bags.index.unique()) == 1
    with pytest.raises(ValueError, match=r"'user_attributes' .* no table 'users'"):
        read_tables(ColumnsConfig(user_attributes=['age']), ratings)


def test_attributes_that_are_named(tables):
    config = ColumnsConfig(user_attributes={'name': 'categorical', 'age': None})
    columns = read_tables(config, **tables).nodes['user'].columns
    stypes = [(c.column, c.stype) for c in columns]
    assert stypes == [('name', 'categorical'), ('age', 'numeric')]
    none = read_tables(ColumnsConfig(user_attributes=[]), **tables).nodes['user']
    assert [c.column for c in none.columns] == [CONSTANT]
    with pytest.raises(ValueError, match="'jobb', did you mean 'job'"):
        read_tables(ColumnsConfig(user_attributes=['jobb']), **tables)


@pytest.mark.filterwarnings('ignore:Columns of')
def test_tables_that_are_wrong(tables):
    for name, change, message in [
        ('ratings', lambda f: f.to_dict(), 'must be a pandas DataFrame'),
        ('ratings', lambda f: f.iloc[:0], 'has no rows'),
        (
            'ratings',
            lambda f: f.rename(columns=str.title),
            r"did you mean 'User'\? \(known: User, I",
        ),
        ('ratings', lambda f: f[[*f, 'item']], "2 columns called 'item'"),
        ('ratings', lambda f: f.assign(rating=1), 'are all 1, .* add'),
        ('ratings', changed(3, rating=np.nan), r"'rating' in row 3 \(nan\); correct"),
        ('ratings', changed(3, rating='good'), r'row 3 \(.good.\)'),
        ('ratings', changed(3, rating=10**400), r'row 3 \(1000'),
        ('ratings', changed(3, rating=torch.tensor(1)), r'row 3 \(tensor'),
        ('ratings', in_days, r'row 0 \(Timedelta.*, the first of 5'),
        ('ratings', twice, r"second time in row 5 \(3, 'b'\); keep one"),
        ('ratings', changed(4, user=999), r"'users'.* 'user' in row 4 \(999\); add"),
        ('ratings', lambda f: f.astype({'user': str}), r'str ids.*\.astype\(int\)'),
        ('users', twice, r'repeats an id .* row 4 \(2\)'),
        ('users', lambda f: f.iloc[:0], 'has no rows; leave it out'),
        ('users', changed(2, age=np.inf), r"'age' in row 2 \(inf\)"),
        ('items', lambda f: f.drop(columns='item'), "no column 'item'"),
        ('items', lambda f: f.set_index('item'), r"'item'.*\.reset_index\('item'\)"),
        ('validation', changed(0, item='e'), r"'items'.* 'item' in row 0 \('e'\)"),
    ]:
        wrong = tables | {name: change(tables[name])}
        with pytest.raises(ValueError, match=f"'{name}' .*{message}"):
            read_tables(CONFIG, **wrong)


@pytest.mark.filterwarnings('ignore:Columns of')
def test_new_nodes(tables):
    read = read_tables(CONFIG, **tables)
    users = read.nodes['user']
    every, fitted = users.encode(1, 4)
    encoders = [users.encode(2, 4, read.ratings.index[0])[0], every]

    def new(frame):
        return read_new_nodes(frame, 'user', CONFIG, users.ids, encoders, fitted)

    known = tables['users']
    near, some = known.assign(age=known['age'] * (1 + 1e-9)), known[['user', 'job']]
    for same in (None, known[::-1], near, some, changed(0, age=None)(known)):
        assert new(same) is None
    for column, value in (('age', 11), ('age', 'x'), ('job', 'pilot')):
        with pytest.warns(UserWarning, match=f"'users' .*'{column}' in row 2 "):
            assert new(changed(2, **{column: value})(known)) is None
    later = known.assign(user=[7, 8, 3, 4])
    ids, bags = new(later)
    assert ids.tolist() == [7, 8]
    for each, found in zip(encoders, bags, strict=True):
        assert found.index.tolist() == each.transform(later[:2]).index.tolist()
    # Of ids alone, all attributes are missing.
    unknown = later.assign(age=None, job=None, born=None)
    for alone in (later[['user']], later['user'], [7, 8, 3]):
        for each, found in zip(encoders, new(alone)[1], strict=True):
            assert found.index.tolist() == each.transform(unknown[:2]).index.tolist()
    bare = read_tables(CONFIG, tables['ratings']).nodes['user']
    bare, encoded = bare.ids, bare.encode(1, 4)
    with pytest.warns(UserWarning, match="'users' has attributes.* fit again"):
        read_new_nodes(later, 'user', CONFIG, bare, encoded[:1], encoded[1])
    for change, message in (
        (twice, r'repeats an id .* row 4 \(8\)'),
        (lambda f: f.drop(columns='age'), "no column 'age'"),
        (lambda f: f.astype({'user': str}), 'str ids'),
        (changed(1, age='old'), r"'age' in row 1 \(.old.\)"),
    ):
        with pytest.raises(ValueError, match=f"'users' .*{message}"):
            new(change(later))


def test_pairs_and_lists_of_ids(tables):
    nodes = read_tables(CONFIG, tables['ratings']).nodes
    ids = {side: table.ids for side, table in nodes.items()}
    pairs = pd.DataFrame({'item': ['c', 'a'], 'user': [1, 3]})
    assert read_pairs(pairs, 'pairs', CONFIG, ids).tolist() == [[0, 2], [2, 0]]
    with pytest.raises(ValueError, match=r"'pairs' .* 'items': .* row 1 \('q'\)"):
        read_pairs(changed(1, item='q')(pairs), 'pairs', CONFIG, ids)
    assert read_distinct([3, 1], 'users', 'user').values.tolist() == [3, 1]
    row = pd.Series({'user': 3})
    frame = r'.*DataFrame\(\['
    for wrong, remedy in ((3, '.3.'), ('a', ".'a'."), (row, frame), ([[3]], frame)):
        with pytest.raises(ValueError, match=rf"'users' must .* {remedy}"):
            read_distinct(wrong, 'users', 'user')


def test_ratings_as_texts_and_columns_of_other_names(tables):
    names = {'user': 'userId', 'item': 'movieId', 'rating': 'stars'}
    renamed = tables['ratings'].astype({'rating': str}).rename(columns=names)
    read = read_ratings(renamed, 'ratings', ColumnsConfig(**names))
    assert read.rating.tolist() == [5, 3, 4, 1, 2]
    assert read.user.values.tolist() == [3, 3, 1, 2, 2]


def test_the_rating_scale():
    rating = np.array([10.0, 20.0, 50.0])
    assert RatingScale.fit(rating, (0.0, 100.0)).unit == 25.0
    scale = RatingScale.fit(rating, center=20.0)
    assert scale.to_unit_scale(rating).tolist() == [-1.0, 0.0, 3.0]
    assert np.ptp(scale.to_unit_scale(rating)) == np.ptp([1, 5])
    assert scale.to_rating_scale(np.array([-1.0, 0.5, 9.0])).tolist() == [10, 25, 50]


def read(rating, **settings):
    frame = pd.DataFrame({'user': range(len(rating)), 'item': 0, 'rating': rating})
    return read_tables(ColumnsConfig(**settings), frame).ratings.rating


def test_ratings_far_from_all_others():
    rng = np.random.default_rng(0)
    stars = rng.integers(1, 6, 500).astype(float)
    for usual in (stars, stars / 2, stars == 5, rng.normal(size=500), [0.0, 1, 10]):
        assert read(usual).tolist() == [*usual]
    odd = stars.copy()
    odd[[3, 8]], odd[50:70] = [-99, 999], 99  # also 99 for "not rated", many times
    with pytest.warns(UserWarning, match=r"'rating' in row 3 \(-99.0, .* of 22\)"):
        assert read(odd).tolist() == odd.clip(1, 5).tolist()
    counts = np.exp(1.5 * rng.normal(size=2000))
    with pytest.warns(UserWarning, match='logarithms'):
        assert read(counts).max() <= np.quantile(counts, 0.995)
    assert read(np.log(counts)).max() == np.log(counts.max())
    odd = np.append(stars[stars > 1], [1.0, *20 * [99]])  # a 1 is rare, but no stray
    with pytest.warns(UserWarning, match=r"99.* of 20\); .*'rating_range', \(1, 99\)"):
        assert read(odd).min() == 1
    for mistyped in (-3.0, 8.0):
        odd = stars[:99].copy()
        odd[7] = mistyped
        with pytest.warns(UserWarning, match=rf"'rating' in row 7 \({mistyped}\)"):
            assert read(odd).tolist() == odd.clip(1, 5).tolist()
    odd[3] = -99
    with pytest.raises(ValueError, match=r"'rating_range'.*row 3 \(-99"):
        read(odd, rating_range=(1, 5))
    odd = stars.copy()
    odd[[4, 9]] = -1  # "not rated"
    with pytest.warns(UserWarning, match=r"-1, .*'rating' in row 4 \(-1.0, .* of 2\)"):
        assert read(odd).tolist() == odd.tolist()
    odd = np.append(np.zeros(120), stars)
    with pytest.warns(UserWarning, match=r"of 0, .*'rating' in row 0 \(0.0, .* 120\)"):
        assert read(odd).tolist() == odd.tolist()
    read(np.append(np.zeros(60), stars))  # a scale of 0 to 5
    for lone in (-1.0, 0.0, 6.0):
        with pytest.warns(UserWarning, match=rf"only .*'rating' in row 1000 \({lone}"):
            read(np.append([*stars, *stars], lone))
    with pytest.warns(UserWarning, match=r'7, and none .* 5, .* row 500 \(7.0, .* 2\)'):
        read(np.append(stars, [7.0, 7.0]))
    with pytest.warns(UserWarning, match=r'two .* 5 and 20, .* row 500 \('):
        read(np.append(stars, 20 * stars[:60]))
    with pytest.warns(UserWarning, match=r'two .* 6 and 8, .* row 50\d \('):
        read(np.append(stars, 2 * stars[:200]))
    assert read(odd, rating_range=(-1, 5)).tolist() == odd.tolist()
    with pytest.warns(UserWarning, match=r"'rating_range' .*10.* in \[1, 5\]"):
        assert read(stars, rating_range=(1, 10)).tolist() == stars.tolist()
    with pytest.warns(UserWarning, match='counts, most of them 1, .*rating=None'):
        read(rng.geometric(0.5, 400))


@pytest.mark.parametrize('step', [1, 0.5, 0.25, 0.1])
def test_ratings_off_the_steps_of_the_fit(step):
    scale = RatingScale.fit(step * np.arange(1, 8))
    frame = pd.DataFrame({'user': 1, 'item': [1, 2], 'rating': [3 * step, 1.7 * step]})
    scale.check(read_ratings(frame[:1], 'later', CONFIG))
    with pytest.warns(UserWarning, match="'later' .* no .* row 1"):
        scale.check(read_ratings(frame, 'later', CONFIG))


@pytest.mark.filterwarnings('ignore:.* repeats pairs')
def test_weights_far_from_all_others():
    rng = np.random.default_rng(0)
    weight = np.exp(1.5 * rng.normal(size=300))
    clicks = pd.DataFrame({'user': range(300), 'item': 0, 'n': weight})
    config = ColumnsConfig(rating=None, weight='n')
    assert read_tables(config, clicks).ratings.rating.tolist() == weight.tolist()
    bot = pd.DataFrame({'user': 999, 'item': range(40), 'n': 1e5})
    with pytest.warns(UserWarning, match=r'far above .* row 300 \(999, 0, .* of 40'):
        found = read_tables(config, pd.concat([clicks, bot], ignore_index=True)).ratings
    assert found.rating.tolist() == [*weight, *[weight.max()] * 40]
    clicks.loc[[7, 9], 'n'] = 1e9
    with pytest.warns(UserWarning, match=r"'ratings' .* row 7 \(7, 0, the first of 2"):
        found = read_tables(config, clicks).ratings.rating
    assert found[7] == found[9] == np.sort(found)[-3] < 1000
    repeated = pd.concat([clicks[['user', 'item']], clicks.loc[5000 * [3]]])
    with pytest.warns(UserWarning, match=r'far above .* row 3 \(3, 0'):
        read_tables(ColumnsConfig(rating=None), repeated)
    with pytest.warns(UserWarning, match=r"'finished' \(such as True\)"):
        read_tables(ColumnsConfig(rating=None), clicks.assign(finished=weight > 0.1))
    assert not len(read_ratings(clicks[:0], 'ratings', config).rating)
    for name in ('num_plays', 'listen_count', 'stars', 'clicked'):
        with pytest.warns(UserWarning, match=f"'{name}' .*row.*'weight'"):
            read_tables(ColumnsConfig(rating=None), clicks.rename(columns={'n': name}))
    odd = clicks.drop(columns='n').assign(state=['done', 'Cancelled'] * 150)
    with pytest.warns(UserWarning, match="'state' .*row"):
        read_tables(ColumnsConfig(rating=None), odd)
    bought = clicks.drop(columns='n').assign(piles=rng.geometric(0.5, 300), day=4)
    with pytest.warns(UserWarning, match="'piles' .*row"):
        read_tables(ColumnsConfig(rating=None), bought)
    liked = clicks[clicks['n'] > 1e8].assign(stars=[4.0, 5.0]).drop(columns='n')
    read_tables(ColumnsConfig(rating=None), liked)
    edges = pd.DataFrame({'a': [0, 1], 'b': [2, 3], 'strength': [1, 5]})
    with pytest.warns(UserWarning, match=r"'user_edges' .*'strength'.* rename"):
        read_edges({'user': edges})


def test_weights_that_are_none_and_repeated_pairs_are_named():
    clicks = pd.DataFrame({'user': range(9), 'item': 0, 'n': 1.0})
    config = ColumnsConfig(rating=None, weight='n')
    for value in (0.0, -1.0, np.nan, np.inf, 'many'):
        with pytest.raises(ValueError, match=r"'ratings'.*'n' in row 7"):
            read_tables(config, changed(7, n=value)(clicks))
    # A warning names the line of the caller.
    clicks = pd.DataFrame({'user': [1, 2, 1, 2], 'item': [7, 7, 7, 8]})
    with pytest.warns(TableWarning, match=r'summed, in row 2 \(1, 7\)') as caught:
        read_tables(ColumnsConfig(rating=None), clicks)
    assert caught[0].filename == __file__


def test_attributes_among_the_ratings_are_not_used(tables):
    ratings = pd.DataFrame({'user': np.arange(60) % 20, 'item': np.arange(60) // 20})
    ratings['rating'], ratings['time'] = np.arange(60) % 5 + 1, range(60)
    read_tables(CONFIG, ratings.assign(source='web'))
    joined = ratings.assign(tags=[[k] for k in ratings['item']])
    with pytest.warns(UserWarning, match="per item, .*: tags; .* table 'items'"):
        read_tables(CONFIG, joined)
    read_tables(CONFIG, joined, items=pd.DataFrame({'item': range(3), 'size': 'm'}))


def test_columns_that_seem_to_be_something_else(tables):
    users, days = pd.DataFrame({'user': range(40)}), pd.date_range('1999', periods=30)
    for cells, problem in (
        ([f'{day:02}.01.1990' for day in range(1, 41)], r"dates .*'01\.01\.1990'"),
        ([f'€{n}.50' for n in range(40)], "numbers .*'.0.50'.*, convert"),
        ([f'$1,{n + 100}.50' for n in range(40)], r"numbers .*'\$1,100\.50'"),
        ([f'1 {n + 100},5 euros' for n in range(40)], "numbers .*'1 100,5 euros'"),
        ([f'{18 + n}' for n in range(40)], "numbers .*'18'"),
        (10 * ['0,9', '1,9', '1,5', '3'], "numbers .*'0,9'"),
        ([f'{18 + n} years' for n in range(40)], "numbers .*'18 years'"),
        ([f'{18 + n} m2' for n in range(40)], "numbers .*'18 m2'"),
        ([f'EUR {18 + n}.50' for n in range(40)], "numbers .*'EUR 18.50'"),
        ([f'{n}:05' for n in range(40)], "durations .*'0:05'"),
        ([f'{2000 + n}-05' for n in range(40)], "dates .*'2000-05'"),
        ([f'May {n % 28 + 1}, {2000 + n}' for n in range(40)], "dates .*'May 1, 2000'"),
        (10 * ['a|b', 'b|c', 'a|c', 'c'], r"lists .*cells, '\|'.*--lists.*'a\|b'"),
        (10 * ['a; b', 'b ;c', 'c', 'a; c'], r"lists .*cells, ';'.*'a; b'"),
        ([f'Word {n} of a text; more' for n in range(40)], 'most values occur once'),
        # Few distinct parts, but sentences.
        (
            [f'It is {n % 7} units wide, and {n % 6} units high' for n in range(40)],
            'once',
        ),
        (10 * ['a, b', 'b, c', 'c', 'c, a'], r"lists .*cells, ','"),
        (10 * ['a/b/c', 'b/c', 'c', 'c/a'], r"lists .*cells, '/'"),
        (10 * ['a|b', 'a', 'c', 'c'], r"lists .*cells, '\|'.*'a\|b'"),
        (20 * ['1990-01-31', '31/01/1990'], "dates .*'31/01/1990'"),
        (['so', '~', *(f'{18 + n} EUR' for n in range(38))], "numbers .*'18 EUR'"),
        (5 * ['soon', 'later'] + [*days], 'x .*suit the type .* row 10 .*1999'),
        (20 * [['b']] + 20 * [{'b': 1}], r'x \(.*suit the type .* row 20 \({'),
        *((20 * [text, '[]'], r'lists .*as_lists.*reads') for text in LISTS),
        (10 * ['Red', 'blue', 'red', 'Blue'], "only in case, .*'Red' and 'red'"),
        (40 * [None], r'x \(no values'),
        (['a', 'b', *38 * [None]], r'x \(2 of 40 cells have values'),
    ):
        with pytest.warns(UserWarning, match=f"'users'.*{problem}") as caught:
            read_tables(CONFIG, tables['ratings'], users.assign(x=cells))
        text = ' '.join(str(w.message) for w in caught)
        assert "'user_attributes'" in text
        if "Column 'x'" in text or 'once' in problem:  # named without a type, too
            named = ColumnsConfig(user_attributes=['x'])
            if problem.startswith('lists'):  # with the type of lists, too
                named = ColumnsConfig(user_attributes={'x': 'multi'})
            with pytest.warns(UserWarning, match=f"'users'.*{problem}"):
                read_tables(named, tables['ratings'], users.assign(x=cells))
        if how := re.search(r"which as_lists(\(cells, '(.)'\))?", text):
            made = as_lists(pd.Series(cells), how[2] or '|')
            assert made.map(len).max() > 1
            assert not made.explode().astype(str).str.contains(r"[][{}'|;,/]").any()
    cities = users.assign(x=10 * ['Oslo', 'Austin, TX', 'King, WA', 'Zed, Inc.'])
    cities['band'] = pd.cut(cities['user'], 4).astype(str)
    cities['era'] = 10 * ['Jazz 1999', 'Rock 2000', 'Pop 2001', 'Mono 1 2 3']
    cities['code'] = [f'{n % 25:03}' for n in range(40)]
    cities['codes'] = [[str(n % 25)] for n in range(40)]
    read_tables(CONFIG, tables['ratings'], cities)  # no lists, no numbers


def test_numbers_that_seem_to_be_ids_codes_or_placeholders(tables):
    ids = pd.DataFrame({'user': range(30), 'isbn': range(7000, 7030), 'age': 5})
    ratings = tables['ratings']
    ids['zipCode'], ids['days'] = ids['user'] % 25, ids['user'] % 25
    left_out = pytest.warns(UserWarning, match=r'isbn \(whole numbers')
    with left_out, pytest.warns(UserWarning, match="'zipCode'.* .astype"):
        read = read_tables(CONFIG, ratings, ids)
    assert [c.column for c in read.nodes['user'].columns] == ['age', 'zipCode', 'days']
    named = ColumnsConfig(user_attributes=['isbn'])
    assert read_tables(named, ratings, ids).nodes['user'].columns[0].stype == 'numeric'
    users = pd.DataFrame({'user': range(30), 'price': np.arange(30) / 2})
    users['day'] = pd.date_range('2020', periods=30).astype(str)
    users['level'] = users['user'] % 6  # 0 is one of them
    read_tables(CONFIG, ratings, users)
    strays = ('price', -1), ('price', 9999), ('price', 1234.5), ('day', '1970-01-01')
    for column, odd in (*strays, ('day', '2202-01-05')):
        part = users.assign(**{column: users[column].where(users['user'] != 3, odd)})
        with pytest.warns(UserWarning, match=f"'{column}' .* {odd} in 1 of 30 cells"):
            read_tables(CONFIG, ratings, part)
    zeros = users[['user']].assign(age=(20 + users['user']) * (users['user'] % 3 > 0))
    with pytest.warns(UserWarning, match="'age' .* 0 in 10 of 30 cells"):
        read_tables(CONFIG, ratings, zeros)
    ids['rating'] = ids['user'] % 5
    with pytest.warns(UserWarning, match="'rating', the name of the ratings"):
        read_tables(CONFIG, ratings, ids[['user', 'rating']])
    with pytest.raises(ValueError, match="'user_attributes' names the ids, 'user'"):
        read_tables(ColumnsConfig(user_attributes=['age', 'user']), ratings, ids)


@pytest.mark.parametrize('what', ['mean rating', 'number of ratings'])
def test_columns_that_are_statistics_of_the_ratings(what):
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({'user': np.arange(900) % 90, 'item': rng.zipf(1.3, 900) % 40})
    ratings = pairs.drop_duplicates().assign(rating=lambda f: f['item'] % 5 + 1.0)
    ratings['rating'] += rng.normal(size=len(ratings))
    by_item = ratings.groupby('item')['rating']
    column = by_item.mean().round(1) if what == 'mean rating' else -by_item.size()
    items = pd.DataFrame({'item': range(40), 'price': rng.normal(size=40)})
    read_tables(CONFIG, ratings, items=items)
    items['stat'] = items['item'].map(column).fillna(0)
    with pytest.warns(UserWarning, match=f"'stat' of 'items' follows the {what}"):
        read_tables(CONFIG, ratings, items=items)
