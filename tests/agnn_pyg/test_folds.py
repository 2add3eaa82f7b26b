import pytest
import torch

from agnn_pyg.folds import SCENARIOS, check_folds, joint_fold, scenario_folds


@pytest.mark.parametrize('scenario', SCENARIOS)
def test_each_pair_is_held_out_once_and_strictly_cold(tiny_pairs, scenario):
    index = tiny_pairs[0]
    folds = scenario_folds(index, scenario, 4, seed=1)
    for held, kept in folds:
        assert held.any()
        check_folds(index, scenario, held, kept)
    times = sum(held.long() for held, _ in folds)
    assert times.max() == 1
    if scenario != 'both_cold':
        assert times.min() == 1


def test_one_fold_holds_out_the_same_nodes_in_all_scenarios(tiny_pairs):
    """So one model without them has no target of any scenario in its training part."""
    masks = {s: scenario_folds(tiny_pairs[0], s, 3, seed=2) for s in SCENARIOS}
    for k in range(3):
        held = {s: masks[s][k][0] for s in SCENARIOS}
        assert torch.equal(held['both_cold'], held['user_cold'] & held['item_cold'])
        kept = masks['both_cold'][k][1] & masks['warm'][k][1]
        assert not any((kept & h).any() for h in held.values())


def test_a_joint_fold_is_as_cold_as_each_scenario_says(tiny_pairs):
    index = tiny_pairs[0]
    held, kept = joint_fold(index, 4, seed=1)
    known = [set(row[kept].tolist()) for row in index]
    for scenario, (user_cold, item_cold) in SCENARIOS.items():
        assert held[scenario].any()
        assert not (held[scenario] & kept).any()
        for user, item in index[:, held[scenario]].T.tolist():
            assert (user not in known[0]) == user_cold
            assert (item not in known[1]) == item_cold
    total = kept.long() + sum(mask.long() for mask in held.values())
    assert torch.equal(total, torch.ones_like(total))
