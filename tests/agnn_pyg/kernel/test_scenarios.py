import pytest
import torch

from agnn_pyg import AttributeEncoder, RatingPropagation
from agnn_pyg.kernel.feature_map import RelationMap
from agnn_pyg.kernel.fitting import learn_messages
from agnn_pyg.kernel.scenarios import PATTERNS, SIDES, Messages

OPTIONS = {'shared': 4, 'steps': 2, 'folds': 2}


@pytest.fixture(scope='module')
def maps(tiny_frames, tiny_pairs):
    """Encoded nodes of both sides, and maps fitted on those with ratings."""
    made = []
    for frame, rated in zip(tiny_frames.values(), tiny_pairs[0], strict=True):
        encoder = AttributeEncoder(list(frame.columns), num_knots=3)
        attributes = encoder.fit_transform(frame)
        trained = attributes.take(rated.unique())
        made.append((RelationMap(encoder, trained, rank=6), attributes))
    return made


@pytest.fixture(scope='module')
def sides(maps):
    return [made(attributes) for made, attributes in maps]


@pytest.fixture(scope='module')
def messages(sides, tiny_pairs):
    return learn_messages(*sides, *tiny_pairs, **OPTIONS)


def all_pairs():
    return torch.arange(12).repeat_interleave(15), torch.arange(15).repeat(12)


def test_each_pair_is_read_from_the_propagation_of_its_pattern(sides, tiny_pairs):
    """Whose states of cold nodes are those that it made itself."""
    user, item = all_pairs()
    cold = ~torch.isin(user, tiny_pairs[0][0]), ~torch.isin(item, tiny_pairs[0][1])
    found = learn_messages(*sides, *tiny_pairs, shared=0, steps=2, folds=2)(user, item)
    for pattern in PATTERNS.values():
        expected = RatingPropagation(*sides, shared=0, cold=pattern)
        expected.learn(*tiny_pairs, steps=2, folds=2)
        expected.fit(*tiny_pairs)
        mine = (cold[0] == pattern[0]) & (cold[1] == pattern[1])
        assert mine.any()
        torch.testing.assert_close(
            found[mine], expected(user[mine], item[mine]), atol=1e-5, rtol=0
        )


def test_the_grid_is_all_pairs(messages):
    users, items = torch.tensor([11, 0, 4, 10]), torch.tensor([3, 14, 2, 13])
    pairs = torch.cartesian_prod(users, items).t()
    expected = messages(*pairs).view(4, 4)
    torch.testing.assert_close(messages.grid(items)(users), expected)
    for users, items in (([0, 4], [3, 2]), ([10], [3]), ([10, 11], [13])):
        users, items = torch.tensor(users), torch.tensor(items)
        pairs = torch.cartesian_prod(users, items).t()
        grid = messages.grid(items)(users)
        torch.testing.assert_close(grid.flatten(), messages(*pairs))


def test_a_grid_of_nobody_or_nothing_is_empty(messages):
    some, none = torch.tensor([0, 10, 3]), torch.empty(0, dtype=torch.long)
    assert messages.grid(some)(none).size() == (0, 3)
    assert messages.grid(none)(some).size() == (3, 0)


def test_attached_nodes_are_as_if_they_had_been_there(messages, maps, tiny_pairs):
    """A table without its cold nodes, which arrive later."""
    rated, rating = tiny_pairs
    some = [made(a.take(slice(n))) for (made, a), n in zip(maps, (10, 13), strict=True)]
    later = learn_messages(*some, rated, rating, **OPTIONS)
    for side, (made, attributes), n in zip(SIDES, maps, (10, 13), strict=True):
        later = later.attach(side, made(attributes.take(slice(n, None))).x)
    assert later.num_nodes == {'user': 12, 'item': 15}
    user, item = all_pairs()
    torch.testing.assert_close(
        later(user, item), messages(user, item), atol=1e-5, rtol=0
    )


def test_what_ratings_carry_adds_up(messages, tiny_pairs):
    for user, item in ((3, 2), (10, 4), (0, 14), (11, 13)):
        carried = messages.carried(tiny_pairs[0], user, item)
        message = messages(torch.tensor([user]), torch.tensor([item]))
        assert float(carried.sum() + messages.mean) == pytest.approx(
            float(message), abs=1e-4
        )


def test_state_tells_the_sizes(messages):
    again = Messages.from_state(messages.state_dict())
    pair = all_pairs()
    assert torch.equal(again(*pair), messages(*pair))


def test_patterns_that_were_not_asked_for_have_none(sides, tiny_pairs):
    made = learn_messages(*sides, *tiny_pairs, patterns=['item_cold'], **OPTIONS)
    user, item = torch.tensor([0, 0, 10]), torch.tensor([0, 14, 14])
    assert made(user, item).isfinite().tolist() == [False, True, False]
    grid = made.grid(torch.tensor([0, 14]))(torch.tensor([0, 10]))
    assert grid.isfinite().tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize('patterns', [(), ('warm', 'lukewarm')])
def test_unknown_patterns(sides, tiny_pairs, patterns):
    with pytest.raises(ValueError, match=r"'patterns' must be of \('warm'"):
        learn_messages(*sides, *tiny_pairs, patterns=patterns)


def test_too_few_to_hold_any_out(sides):
    """One rated pair: no part of the ratings can speak for another."""
    rated, rating = torch.tensor([[0], [0]]), torch.tensor([4.0])
    made = learn_messages(*sides, rated, rating, **OPTIONS)
    assert made(*all_pairs()).isfinite().all()
