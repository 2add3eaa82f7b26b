import copy

import numpy as np
import pytest
import scipy.sparse
import torch

from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.graph.build import attribute_graph
from agnn_pyg.graph.cold_nodes import attach, attached_edges, widened
from agnn_pyg.inference import predict
from agnn_pyg.kernel.features import Relations
from agnn_pyg.kernel.regressor import RatingPropagation
from agnn_pyg.model import AGNN
from agnn_pyg.sampling.link_loader import LinkRatingLoader
from agnn_pyg.sampling.loader import RatingLoader


def random_profiles(count, seed, num_tokens=8):
    rng = np.random.default_rng(seed)
    return scipy.sparse.csr_matrix(rng.random((count, num_tokens)) < 0.4, dtype=float)


def pool_of(graph, node):
    mine = graph.edge_index[1] == node
    source = graph.edge_index[0, mine].tolist()
    return dict(zip(source, graph.edge_weight[mine].tolist(), strict=True))


@pytest.mark.parametrize('seed', range(3))
def test_a_new_node_gets_what_a_graph_with_it_would_give(seed):
    old, new = random_profiles(20, seed), random_profiles(5, seed + 10)
    edges = attached_edges(new, old, pool=0.3)
    for k in range(5):
        stacked = scipy.sparse.vstack([old, new[k]]).tocsr()
        expected = pool_of(attribute_graph(stacked, pool=0.3), 20)
        found = pool_of(edges, 20 + k)
        assert sorted(found.values()) == pytest.approx(sorted(expected.values()))
        # Which of those tied at the edge of the pool is a matter of lots.
        edge = min(expected.values())
        above = {j: w for j, w in expected.items() if w > edge + 1e-6}
        assert above.items() <= {j: pytest.approx(w) for j, w in found.items()}.items()


def test_a_new_node_does_not_depend_on_what_came_with_it(monkeypatch):
    old, new = random_profiles(30, 0), random_profiles(6, 1)
    whole = attached_edges(new, old, pool=0.2)
    alone = attached_edges(new[4], old, pool=0.2)
    assert pool_of(whole, 34) == pool_of(alone, 30)
    monkeypatch.setattr(
        'agnn_pyg.graph.cold_nodes.BLOCK_ENTRIES', 60
    )  # two rows at a time
    blocked = attached_edges(new, old, pool=0.2)
    assert torch.equal(blocked.edge_index, whole.edge_index)


def test_ties_fall_by_the_seed():
    old, new = (scipy.sparse.csr_matrix(np.ones((n, 8))) for n in (40, 1))
    one, other = (attached_edges(new, old, pool=0.1, seed=s) for s in (0, 1))
    assert one.edge_index.size() == other.edge_index.size() == (2, 4)
    assert not torch.equal(one.edge_index, other.edge_index)


def test_a_node_that_shares_nothing_has_no_candidates():
    old = scipy.sparse.csr_matrix(np.eye(4, 6))
    new = scipy.sparse.csr_matrix(np.array([[0, 0, 0, 0, 0, 1.0], [0] * 6]))
    edges = attached_edges(new, old)
    assert edges.edge_index.size(1) == 0
    assert edges.num_nodes == 6


def test_nobody_new():
    edges = attached_edges(random_profiles(0, 0), random_profiles(5, 0))
    assert edges.edge_index.size() == (2, 0)
    assert edges.num_nodes == 5


def test_another_vocabulary():
    with pytest.raises(ValueError, match="'new' must be encoded by the vocabulary"):
        attached_edges(random_profiles(2, 0, 7), random_profiles(5, 0, 8))


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        ({'pool': 0}, r"'pool' must be a share in \(0, 1\] \(got 0\)"),
        ({'pool': 1.5}, r"'pool' must be a share in \(0, 1\] \(got 1.5\)"),
        ({'max_pool': 0}, r"'max_pool' must be at least 1 \(got 0\)"),
        ({'seed': -1}, r"'seed' must be .*at least 0 \(got -1\)"),
    ],
)
def test_options_outside_their_range(kwargs, match):
    with pytest.raises(ValueError, match=match):
        attached_edges(random_profiles(2, 0), random_profiles(5, 0), **kwargs)


def test_attributes_that_nothing_can_be_compared_with():
    some, spoilt = random_profiles(2, 0), random_profiles(2, 0)
    spoilt.data[0] = np.nan
    for args, name in (((spoilt, some), 'new'), ((some, spoilt), 'attributes')):
        with pytest.raises(ValueError, match=f"'{name}' holds NaN"):
            attached_edges(*args)
    with pytest.raises(ValueError, match="'attributes' holds no nodes"):
        attached_edges(some, random_profiles(0, 0))


@pytest.fixture
def encoded(tiny_frames):
    """Items encoded, and two more whose bags are wider."""
    encoder = AttributeEncoder(['genre', 'land', 'year'], num_knots=3)
    old = encoder.fit_transform(tiny_frames['item'])
    new = tiny_frames['item'].iloc[:2].copy()
    new.at[0, 'genre'] = ['war', 'love', 'sea', 'moon']
    return old, encoder.transform(new)


def test_old_nodes_stay_as_they_are(tiny_graph, encoded, tiny_pairs, tiny_attributes):
    old, new = encoded
    before = tiny_graph['item', 'similar', 'item'].edge_index.clone()
    wider = attach(tiny_graph, 'item', new, attached_edges(new, old, pool=0.5))
    assert wider['item'].num_nodes == 17
    assert wider['item'].cold[-2:].all()
    assert tiny_graph['item'].num_nodes == 15
    assert torch.equal(tiny_graph['item', 'similar', 'item'].edge_index, before)

    tokens = [tiny_attributes[side].num_tokens for side in ('user', 'item')]
    torch.manual_seed(0)
    model = AGNN(12, 15, *tokens, channels=4)
    wide = widened(model, {'user': 12, 'item': 17})
    index = tiny_pairs[0]
    one = predict(model, RatingLoader(tiny_graph, index, num_neighbors=3))
    other = predict(wide, RatingLoader(wider, index, num_neighbors=3))
    assert torch.allclose(one, other, atol=1e-6)
    new_pairs = torch.tensor([[0, 1], [15, 16]])
    made = predict(wide, RatingLoader(wider, new_pairs, num_neighbors=3))
    assert made.isfinite().all()  # though the new free parameters are NaN
    loader = LinkRatingLoader(wider, new_pairs, num_neighbors=3)
    assert torch.allclose(predict(wide, loader), made, atol=1e-6)


def test_attributes_and_edges_of_different_nodes(tiny_graph, encoded):
    old, new = encoded
    one = TokenBags(new.index[:1], new.weight[:1], new.is_value)
    with pytest.raises(ValueError, match="'edges' must be of 15 items and 1 new ones"):
        attach(tiny_graph, 'item', one, attached_edges(new, old))


def test_a_model_with_room_is_left_alone():
    model = AGNN(3, 4, 5, 5, channels=2)
    assert widened(model, {'user': 3, 'item': 4}) is model
    wide = widened(model, {'user': 4, 'item': 4})
    assert wide.user.free.size(0) == 4
    assert model.user.free.size(0) == 3


def test_what_new_nodes_would_lack(tiny_graph, encoded):
    old, new = encoded
    edges = attached_edges(new, old)
    graph = copy.copy(tiny_graph)
    graph['item'].price = torch.ones(15)
    with pytest.raises(ValueError, match="'graph' holds 'price' of items"):
        attach(graph, 'item', new, edges)
    relations = Relations(torch.ones(3, 1), torch.zeros(1).long(), ('all',))
    messages = RatingPropagation(relations, relations, shared=0)
    model = AGNN(3, 3, 5, 5, channels=2, messages=messages, message_share=0.5)
    with pytest.raises(ValueError, match="'model' mixes in messages of ratings"):
        widened(model, {'user': 3, 'item': 4})
