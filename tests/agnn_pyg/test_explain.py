import pandas as pd
import pytest
import torch

from agnn_pyg.fitting import EVALUATION_SEED

PARTS = ['global bias', 'user bias', 'item bias', 'dot product', 'MLP']
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


def test_ratings_that_carried_the_message_add_up_to_it(explained, planted):
    explanation, _ = explained
    mean = 0.75 * planted.ratings['rating'].mean()
    for side, frame in (('user', explanation.rated_by), ('item', explanation.rated)):
        assert list(frame.columns) == [side, 'message']
        assert set(frame[side]) <= set(planted.ratings[side])
        assert frame['message'].abs().is_monotonic_decreasing
        assert frame['message'].sum() + mean == pytest.approx(
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

    from agnn_pyg.loader import RatingLoader

    node = int(fitted.tables['item'].ids.rows(planted.items, 'item', 'items')[5])
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
