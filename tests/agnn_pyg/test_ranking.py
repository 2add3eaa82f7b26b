import numpy as np
import torch

from agnn_pyg.base.ranking import excluded
from agnn_pyg.ranking import top_items


def test_seen_items_are_left_out_by_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    pairs = torch.from_numpy(np.unique(rng.integers(12, size=(2, 60)), axis=1))
    users, items = torch.tensor([7, 2, 9, 4, 1]), torch.tensor([3, 11, 0, 5])
    score = torch.from_numpy(rng.random((5, 4)))
    blocks = [score[:2].clone(), score[2:].clone()]
    blocks = excluded(blocks, pairs, users, items)
    user, item, value = top_items(blocks, 4)
    rated = set(zip(*pairs.tolist(), strict=True))
    expected = [
        (u, i, score[u, i])
        for u in range(5)
        for i in score[u].argsort(descending=True).tolist()
        if (int(users[u]), int(items[i])) not in rated
    ]
    assert list(zip(user, item, value, strict=True)) == expected


def test_new_nodes_of_equal_attributes_have_equal_scores(recommender, planted):
    twins = planted.new_items.iloc[[0, 1, 0]].assign(item=[9001, 9002, 9003])
    users = planted.new_users.iloc[[0, 0]].assign(user=[901, 902])
    top = recommender.recommend(users, k=3, items=twins)
    for _, mine in top.groupby('user'):
        score = mine.set_index('item')['score']
        assert set(score.index) == {9001, 9002, 9003}
        assert score[9001] == score[9003]
        assert mine['item'].tolist().index(9001) < mine['item'].tolist().index(9003)
        assert mine['rank'].tolist() == [1, 2, 3]

    top = recommender.recommend(users, 3, twins, filter=lambda _, ids: ids != 9001)
    assert set(top['item']) == {9002, 9003}
