import re

import pytest

from agnn_pyg.recommender import AGNNRecommender
from benchmarks.examples import HeldOut, examples
from data.synthetic import planted_tables
from tanp import TaNPRecommender


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_examples_of_films_and_users_that_were_held_out():
    held = HeldOut(planted_tables(120, density=0.5))
    ratings, users, _ = held.known
    assert not users['user'].isin(held.users['user']).any()
    assert not ratings['item'].isin(held.films['item']).any()
    agnn = AGNNRecommender(epochs=1, kernel_steps=1, cv_folds=2)
    tanp = TaNPRecommender(item_attributes=['genre'], epochs=1)
    page = examples(held, agnn.fit(*held.known), tanp.fit(*held.known))
    for text in ('from attributes', 'after 20 ratings', 'smaller terms', 'RMSE'):
        assert text in page
    film = held.film[held.of_films['item'].mode()[0]].partition('\n')[0]
    assert film in page
    assert not re.search(r'(src|href)="https?:', page)
