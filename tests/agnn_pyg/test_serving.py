import numpy as np
import pytest
import torch

from agnn_pyg.serving import _Kinds, _top, serve


@pytest.mark.parametrize('k', [1, 4, 100])
@pytest.mark.parametrize('seed', range(3))
def test_top_of_kinds_is_the_top_of_their_items(k, seed):
    rng = np.random.default_rng(seed)
    node = rng.integers(20, size=30)  # some items are alike
    kinds = _Kinds(node, alone=False)
    assert torch.equal(kinds.node[kinds.kind], torch.from_numpy(node))
    rating = torch.from_numpy(rng.integers(5, size=(6, len(kinds.node)))).float()
    rating += torch.arange(len(kinds.node)) / 100  # kinds are not tied
    value, item = _top(rating, k, kinds)
    full = rating[:, kinds.kind]
    expected = full.sort(dim=1, descending=True, stable=True)
    found = value > -torch.inf
    assert (found.sum(dim=1) == min(k, 30)).all()
    for row in range(6):
        assert torch.equal(item[row][found[row]], expected.indices[row, :k])
        assert torch.equal(value[row][found[row]], expected.values[row, :k])


def test_a_filter_keeps_each_to_itself():
    node = np.array([5, 3, 5])
    assert _Kinds(node, alone=True).node.tolist() == [5, 3, 5]
    assert _Kinds(node, alone=False).node.tolist() == [5, 3]


def test_new_nodes_of_equal_attributes_are_one(recommender, planted):
    twins = planted.new_items.iloc[[0, 1, 0]].assign(item=[9001, 9002, 9003])
    users = planted.new_users.iloc[[0, 0]].assign(user=[901, 902])
    serving = serve(recommender, recommender.fitted_, users, twins)
    known = len(planted.items)
    assert serving.graph['item'].num_nodes == known + 2
    assert serving.graph['user'].num_nodes == len(planted.users) + 1
    node = serving.node['item']
    assert node[:known].tolist() == list(range(known))
    assert node[known] == node[known + 2] != node[known + 1]

    top = recommender.recommend(users, k=3, items=twins)
    for _, mine in top.groupby('user'):
        rating = mine.set_index('item')['rating']
        assert set(rating.index) == {9001, 9002, 9003}
        assert rating[9001] == rating[9003]
        assert mine['item'].tolist().index(9001) < mine['item'].tolist().index(9003)
        assert mine['rank'].tolist() == [1, 2, 3]

    def but_the_first(user, items):
        return items != 9001

    top = recommender.recommend(users, k=3, items=twins, filter=but_the_first)
    assert set(top['item']) == {9002, 9003}
