import pandas as pd
import pytest
import torch

from agnn_pyg.base.vocabulary import read_ids
from agnn_pyg.explain import Explanation
from agnn_pyg.fitting import EVALUATION_SEED

PARTS = ['mean rating', 'global bias', 'user bias', 'item bias', 'dot product', 'MLP']
PARTS += ['messages', 'clamped']


@pytest.fixture(params=['warm', 'user cold', 'item cold', 'both cold'])
def explained(request, recommender, planted):
    """An explanation, and what is predicted for its pair."""
    users = planted.new_users if request.param.startswith(('user', 'both')) else None
    items = planted.new_items if request.param.startswith(('item', 'both')) else None
    user = (planted.users if users is None else users)['user'].iloc[3]
    item = (planted.items if items is None else items)['item'].iloc[3]
    pair = pd.DataFrame({'user': [user], 'item': [item]})
    rating = recommender.predict(pair, users, items).iloc[0]
    return recommender.explain(user, item, users, items), rating


def test_parts_sum_to_the_prediction(explained):
    explanation, rating = explained
    assert list(explanation.parts) == PARTS
    assert explanation.rating == pytest.approx(rating, abs=1e-5)
    assert sum(explanation.parts.values()) == pytest.approx(rating, abs=1e-5)


def test_parts_are_what_is_added_to_the_mean_rating(explained, planted, recommender):
    explanation, _ = explained
    parts, mean = explanation.parts, planted.ratings['rating'].mean()
    assert parts['mean rating'] == pytest.approx(mean, abs=1e-6)
    fitted = recommender.fitted_
    bias = fitted.scale.unit * float(fitted.model.bias.detach())
    assert parts['global bias'] == pytest.approx((bias - mean) / 4, abs=1e-6)


def test_messages_are_what_they_add_to_the_mean_rating(recommender, planted):
    model, pair = recommender.fitted_.model, planted.ratings.iloc[0]
    rows = [
        torch.from_numpy(table.ids.rows(read_ids(planted.ratings[:1], side, 'x')))
        for side, table in recommender.fitted_.tables.items()
    ]
    message = recommender.fitted_.scale.unit * float(model.messages(*rows))
    message -= planted.ratings['rating'].mean()
    parts = recommender.explain(pair['user'], pair['item']).parts
    assert parts['messages'] == pytest.approx(0.75 * message, abs=1e-5)


def test_ratings_that_carried_the_message_add_up_to_it(explained, planted):
    explanation, _ = explained
    for side, frame in (('user', explanation.rated_by), ('item', explanation.rated)):
        assert list(frame.columns) == [side, 'message']
        assert set(frame[side]) <= set(planted.ratings[side])
        assert frame['message'].abs().is_monotonic_decreasing
        assert frame['message'].sum() == pytest.approx(
            explanation.parts['messages'], abs=1e-3
        )
    assert 'ratings of:' in str(explanation)


def test_neighbours_are_those_drawn(explained):
    explanation, _ = explained
    for side, frame in (('user', explanation.users), ('item', explanation.items)):
        assert list(frame.columns) == [side, 'proximity', 'drawn', 'gate']
        assert len(frame)
        assert frame[side].is_unique
        assert (frame['proximity'] > 0).all()
        assert frame['drawn'].between(1 / 8, 1).all()
        assert frame['gate'].between(0, 1).all()
        assert (frame['drawn'] * frame['gate']).is_monotonic_decreasing
    assert str(explanation).startswith(f'user {explanation.user}, item')


def test_gates_and_draws_by_hand(recommender, planted):
    fitted = recommender.fitted_
    user, item = planted.users['user'].iloc[2], planted.items['item'].iloc[5]
    frame = recommender.explain(user, item).items.set_index('item')

    from agnn_pyg.old.loader import RatingLoader

    node = int(fitted.tables['item'].ids.rows(read_ids(planted.items, 'item', 'x'))[5])
    loader = RatingLoader(
        fitted.graph, torch.tensor([[0], [node]]), seed=EVALUATION_SEED
    )
    ids = fitted.tables['item'].ids.values
    count = dict.fromkeys(ids, 0)
    for draw in range(8):
        loader.set_epoch(draw)
        (batch,) = loader
        for neighbour in batch.item.n_id[batch.item.edge_index[0]].tolist():
            count[ids[neighbour]] += 1
    drawn = {i: c / 8 for i, c in count.items() if c}
    assert frame['drawn'].to_dict() == drawn


def printed(users, items):
    """The lines about ratings, of messages by user and by item."""
    sides = ('user', users), ('item', items)
    none = [
        pd.DataFrame(columns=[side, 'proximity', 'drawn', 'gate']) for side, _ in sides
    ]
    carried = [
        pd.DataFrame({side: [*message], 'message': [*message.values()]})
        for side, message in sides
    ]
    why = Explanation(7, 'x', 3.5, {'mean rating': 3.5}, *none, *carried)
    lines = str(why).splitlines()
    assert lines[:2] == ['user 7, item x: 3.50', '  +3.50  mean rating']
    return lines[[line.startswith('ratings by') for line in lines].index(True) :]


def test_ratings_are_listed_where_they_do_not_cancel():
    lines = printed({7: -0.5, 3: 0.25}, {'y': -0.4, 'x': -0.2, 'z': 0.35})
    assert lines == [
        'ratings by: 2 users, +0.25 -0.50 = -0.25, of which user 7 -0.50',
        ' user  message',
        '    7    -0.50',
        '    3     0.25',
        'ratings of: 3 items, +0.35 -0.60 = -0.25, of which item x -0.20 '
        '(too many cancel to name a few)',
    ]


def test_whoever_has_no_ratings_is_not_named_among_them():
    lines = printed({3: 2.0, 4: -1.75}, {'y': 0.25})
    assert lines == [
        'ratings by: 2 users, +2.00 -1.75 = +0.25 (too many cancel to name a few)',
        'ratings of: 1 items, +0.25 +0.00 = +0.25',
        'item  message',
        '   y     0.25',
    ]
