import dataclasses

import pytest
import torch

from tanp.episodes import Episodes, ragged


def histories(episodes):
    """Each task as plain lists: user, support, query."""
    pairs = list(zip(episodes.item.tolist(), episodes.label.tolist(), strict=True))
    bounds = episodes.ptr.tolist()
    return [
        (
            int(episodes.user[i]),
            pairs[bounds[i] : bounds[i] + int(episodes.num_support[i])],
            pairs[bounds[i] + int(episodes.query_start[i]) : bounds[i + 1]],
        )
        for i in range(len(episodes))
    ]


def test_ragged_against_a_loop():
    start, size = torch.tensor([5, 0, 9, 3]), torch.tensor([2, 0, 3, 1])
    expected = [s + i for s, n in zip(start, size, strict=True) for i in range(n)]
    assert ragged(start, size).tolist() == [int(n) for n in expected]


def test_sizes_and_indices(tasks):
    assert len(tasks) == 6
    assert tasks.size.tolist() == [6, 4, 9, 5, 7, 8]
    assert tasks.num_query.tolist() == [3, 1, 6, 2, 4, 5]
    assert repr(tasks) == 'Episodes(6, support=3, query=1..6)'
    item = tasks.item.tolist()
    found = histories(tasks)
    assert [item[i] for i in tasks.support_index()] == [
        pair[0] for _, support, _ in found for pair in support
    ]
    assert [item[i] for i in tasks.query_index()] == [
        pair[0] for *_, query in found for pair in query
    ]


@pytest.mark.parametrize('size', [0, 1, 3])
def test_a_smaller_support_leaves_the_query_alone(tasks, size):
    smaller = tasks.with_support_size(size)
    pairs = zip(histories(smaller), histories(tasks), strict=True)
    for (user, support, query), (same, full, whole) in pairs:
        assert (user, query) == (same, whole)
        assert support == full[:size]


@pytest.mark.parametrize('size', [-1, 4])
def test_a_support_larger_than_any_history(tasks, size):
    with pytest.raises(ValueError, match=f"'size' must be from 0 to 3.*got {size}"):
        tasks.with_support_size(size)


def test_select_by_position_and_by_mask(tasks):
    chosen = [4, 0, 4]
    expected = [histories(tasks)[i] for i in chosen]
    assert histories(tasks.select(torch.tensor(chosen))) == expected
    large = tasks.at_least(7)
    assert large.user.tolist() == [2, 4, 5]
    assert histories(large) == [histories(tasks)[i] for i in (2, 4, 5)]
    assert repr(tasks.at_least(100)) == 'Episodes(0, support=none, query=none)'


def test_moves_whole(tasks, device):
    moved = tasks.to(device)
    assert all(t.device.type == device.type for t in vars(moved).values())
    assert histories(moved.with_support_size(2).to('cpu')) == histories(
        tasks.with_support_size(2)
    )
    assert moved.query_index().tolist() == tasks.query_index().tolist()


def change(tasks, name, position, value):
    changed = getattr(tasks, name).clone()
    changed[position] = value
    return dataclasses.replace(tasks, **{name: changed})


@pytest.mark.parametrize(
    ('name', 'position', 'value', 'message'),
    [
        ('label', 5, float('nan'), "'label' must be finite .*position 5, 1 in all"),
        ('label', 0, float('inf'), "'label' must be finite .got inf"),
        ('item', 2, -1, "'item' must hold row numbers .*got -1"),
        ('user', 2, -3, "'user' must hold row numbers .*got -3"),
        ('ptr', 0, 1, "'ptr' must rise from 0"),
        ('num_support', 1, 5, "'num_support' must not exceed 'query_start'"),
        ('query_start', 1, 7, "'ptr' must rise"),
    ],
)
def test_bad_values(tasks, name, position, value, message):
    with pytest.raises(ValueError, match=message):
        change(tasks, name, position, value)


def test_bad_sizes_and_types(tasks):
    with pytest.raises(ValueError, match=r"'item' must be a tensor \(got list\)"):
        dataclasses.replace(tasks, item=tasks.item.tolist())
    with pytest.raises(ValueError, match=r"'ptr' must hold .* \[7\] in all .*\[0\]"):
        dataclasses.replace(tasks, ptr=tasks.ptr[:0])
    with pytest.raises(ValueError, match=r"'ptr' must hold whole .* \[6\] .*\[7\]"):
        dataclasses.replace(tasks, user=tasks.user[:5])
    with pytest.raises(ValueError, match="'label' must hold floating numbers"):
        dataclasses.replace(tasks, label=tasks.label.long())
    with pytest.raises(ValueError, match="'item' must hold whole numbers"):
        dataclasses.replace(tasks, item=tasks.item.float())


def test_it_is_frozen(tasks):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tasks.user = tasks.user
    assert isinstance(tasks, Episodes)
