"""Worked examples: nothing held out is fitted on, and what is shown is what was."""

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.explain import Explanation
from benchmarks.examples import main
from benchmarks.held_out import hold_out
from benchmarks.pages.films import (
    choose,
    explained,
    film_means,
    film_name,
    typical,
    user_name,
)
from benchmarks.pages.users import in_time, shown_users
from data.synthetic import planted_tables


@pytest.fixture(scope='module')
def held():
    return hold_out(planted_tables())


def test_nothing_held_out_is_known(held):
    assert len(held.new_users) == 9
    assert len(held.new_films) == 14
    assert not held.known['user'].isin(held.new_users['user']).any()
    assert not held.known['item'].isin(held.new_films['item']).any()
    assert len(held.known) + len(held.ratings) == len(held.tables.ratings)
    films, users = held.of_new_films(), held.of_new_users()
    assert films['item'].isin(held.new_films['item']).all()
    assert users['user'].isin(held.new_users['user']).all()
    # The pairs of both are in neither.
    assert not films.index.intersection(users.index).size


def test_films_are_chosen_by_rule():
    rated = pd.DataFrame(
        {
            'item': np.repeat([1, 2, 3, 4, 5], [9, 8, 7, 6, 6]),
            'rating': 3.0,
            'predicted': np.repeat([3.0, 3.1, 3.2, 3.3, 2.0], [9, 8, 7, 6, 6]),
        }
    )
    films = film_means(rated)
    assert films.index.tolist() == [1, 2, 3]  # half of the films have seven
    assert films.loc[3, 'rmse'] == pytest.approx(0.2)
    films = film_means(pd.concat([rated] * 10))
    assert films.loc[5, ['count_', 'given', 'predicted']].tolist() == [60, 3, 2]
    assert choose(films).index.tolist() == [1, 2, 3, 5]


def test_a_typical_rating_is_of_the_middle_error():
    rated = pd.DataFrame({'rating': [1.0, 2.0, 3.0], 'predicted': [1.5, 2.1, 3.9]})
    rated['user'] = [7, 8, 9]
    assert typical(rated) == (7, 1.0)


def test_an_explanation_is_shown_whatever_its_parts(held):
    user, film = held.known['user'].iloc[0], held.new_films['item'].iloc[0]
    neighbours = pd.DataFrame({'user': [user], 'gate': [0.5]})
    messages = pd.DataFrame({'item': [film], 'message': [0.25]})
    parts = {'bias': 3.0, 'messages': 0.5, 'clamped': 0.0}
    none = neighbours[:0]
    why = Explanation(user, film, 3.5, parts, neighbours, none, none, messages)
    _, total, users, films = explained(held, why, given=4.0)
    assert list(total.rows) == [
        ('bias', '+3.00'),
        ('messages', '+0.50'),
        ('predicted', '3.50'),
        ('given', '4'),
    ]
    mean = held.known[held.known['user'] == user]['rating'].mean()
    assert users.rows == [(user_name(held, user), '0.50', f'{mean:.2f}')]
    assert films.header == ('film', 'message', 'mean rating')
    assert films.rows == [(film_name(held, film), '0.25', 'new')]


def test_users_are_chosen_by_rule_and_rate_in_time():
    count = [50, 60, 70, 80, 3]
    rated = pd.DataFrame({'user': np.repeat(range(5), count), 'timestamp': 0})
    assert shown_users(rated) == [1, 2]
    rated.loc[0, 'timestamp'] = 9
    assert in_time(rated).loc[0, 'place'] == 49


def test_names_are_words(held):
    item = held.tables.items.iloc[0]
    assert film_name(held, item['item']).startswith(f'film {item["item"]}')
    user = held.tables.users.iloc[0]
    assert user['occupation'] in user_name(held, user['user'])


def test_the_page_is_made_from_kept_models(tmp_path, capsys):
    out = tmp_path / 'page' / 'examples.html'
    models = tmp_path / 'models'
    arguments = ['--smoke', '--out', str(out), '--models', str(models)]
    assert main(arguments) == 0
    assert capsys.readouterr().err.count('fitting') == 2
    first = out.read_text(encoding='utf-8')
    assert main(arguments) == 0
    assert 'fitting' not in capsys.readouterr().err
    assert out.read_text(encoding='utf-8') == first
    for words in ('dot product', 'proximity', 'after 5 ratings', 'of the mean'):
        assert words in first
    assert 'http' not in first
