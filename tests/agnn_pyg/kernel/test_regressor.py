import pytest
import torch

from agnn_pyg import AttributeEncoder, RatingPropagation, attribute_relations
from agnn_pyg.kernel import regressor as module
from agnn_pyg.kernel.features import RatedPairs, Relations
from agnn_pyg.kernel.folds import check_held_out, hold_out

MODES = {
    'warm': (False, False),
    'user_cold': (True, False),
    'item_cold': (False, True),
    'both_cold': (True, True),
}


@pytest.fixture
def sides(tiny_frames):
    made = []
    for frame in tiny_frames.values():
        encoder = AttributeEncoder(list(frame.columns), num_knots=3)
        relations = attribute_relations(encoder, encoder.fit_transform(frame), rank=6)
        made.append(Relations(relations.x.double(), *relations[1:]))
    return made


def make(sides, **options):
    return RatingPropagation(*sides, **options).double()


def dense_messages(propagation, rated, rating):
    """All messages between all pairs, one rated pair at a time."""
    messages = module._Messages(propagation, rated, rating)
    columns = []
    for k in range(rated.size(1)):
        value = torch.zeros(rated.size(1), dtype=torch.double)
        value[k] = 1
        p, q = messages(value)
        columns.append(p @ q.t())
    order = messages.pairs.order
    return torch.stack(columns, dim=-1), order


@pytest.mark.parametrize('cold', MODES.values(), ids=MODES)
@pytest.mark.parametrize('shared', [0, 4])
def test_fit_against_a_dense_solution(sides, tiny_pairs, shared, cold):
    rated, rating = tiny_pairs[0], tiny_pairs[1].double()
    propagation = make(sides, shared=shared, cold=cold)
    propagation.fit(rated, rating, tol=1e-12)
    kernel, order = dense_messages(propagation, rated, rating)
    rest = (rating - rating.mean())[order]
    among = kernel[rated[0][order], rated[1][order]]
    value = torch.linalg.solve(among + torch.eye(len(rest), dtype=torch.double), rest)
    user, item = torch.arange(12).repeat_interleave(15), torch.arange(15).repeat(12)
    expected = rating.mean() + (kernel @ value)[user, item]
    torch.testing.assert_close(propagation(user, item), expected)


def test_messages_among_pairs_are_a_kernel(sides, tiny_pairs):
    rated, rating = tiny_pairs
    propagation = make(sides, shared=4)
    kernel, order = dense_messages(propagation, rated, rating)
    among = kernel[rated[0][order], rated[1][order]]
    torch.testing.assert_close(among, among.t())
    assert torch.linalg.eigvalsh(among).min() > -1e-9


@pytest.mark.parametrize('cold', MODES.values(), ids=MODES)
def test_gradient_of_the_gates_against_differences(sides, tiny_pairs, cold):
    rated, rating = tiny_pairs[0], tiny_pairs[1].double()
    propagation = make(sides, shared=4, cold=cold)
    held, kept = hold_out(rated, cold, 2, seed=0)[0]

    def loss():
        fold = module._Fold(propagation, rated, rating - rating.mean(), held, kept)
        error, gradient = fold.step(tol=1e-12)
        return error / len(fold.held), gradient

    gradient = loss()[1]
    for a, b in ((0, 1), (-1, 0), (0, -1), (2, -1), (-1, 2), (1, 1)):
        start, step = float(propagation.gate[a, b]), 1e-6
        ends = []
        for end in (start + step, start - step):
            propagation.gate[a, b] = end
            ends.append(loss()[0])
        propagation.gate[a, b] = start
        difference = (ends[0] - ends[1]) / (2 * step)
        assert float(gradient[a, b]) == pytest.approx(difference, rel=1e-4, abs=1e-7)


def test_learning_helps_on_what_is_held_out(sides, tiny_pairs):
    propagation = make(sides, shared=0, cold=MODES['item_cold'])
    rated, rating = tiny_pairs[0], tiny_pairs[1].double()
    history = propagation.learn(rated, rating, steps=12, folds=3)
    assert min(history) < history[0]
    assert (propagation.gate >= 0).all()


def test_the_same_seed_gives_the_same_gates(sides, tiny_pairs):
    gates = []
    for seed in (0, 0, 1):
        propagation = make(sides, shared=4)
        rated, rating = tiny_pairs[0], tiny_pairs[1].double()
        propagation.learn(rated, rating, steps=3, folds=2, seed=seed)
        gates.append(propagation.gate)
    assert torch.equal(gates[0], gates[1])
    assert not torch.equal(gates[0], gates[2])


@pytest.mark.parametrize('cold', MODES.values(), ids=MODES)
def test_what_is_held_out_is_in_no_message(sides, tiny_pairs, cold):
    rated, rating = tiny_pairs
    for held, kept in hold_out(rated, cold, 3, seed=0):
        assert held.any()
        check_held_out(rated, held, kept, cold)
        values = []
        for other in (rating, torch.where(held, 100.0, rating)):
            model = make(sides, cold=cold)
            fold = module._Fold(model, rated, other.double(), held, kept)
            fold.step()
            values.append(fold.value)
        assert torch.equal(*values)


@pytest.mark.parametrize('cold', MODES.values(), ids=MODES)
def test_each_pair_is_held_out_at_most_once(tiny_pairs, cold):
    times = sum(held.long() for held, _ in hold_out(tiny_pairs[0], cold, 4, seed=1))
    assert times.max() == 1
    if not all(cold):
        assert times.min() == 1


def test_a_planted_leak_is_noticed(sides, tiny_pairs, monkeypatch):
    def leaky(*arguments):
        return [(held, torch.ones_like(kept)) for held, kept in hold_out(*arguments)]

    monkeypatch.setattr(module, 'hold_out', leaky)
    with pytest.raises(ValueError, match='told to themselves'):
        make(sides).learn(*tiny_pairs)

    def lukewarm(rated, cold, folds, seed):
        return hold_out(rated, (False, False), folds, seed)

    monkeypatch.setattr(module, 'hold_out', lukewarm)
    with pytest.raises(ValueError, match='A held-out item that is to be cold'):
        make(sides, cold=(False, True)).learn(*tiny_pairs)


def test_kinds_close_the_other_gates(sides):
    gates = {kind: make(sides, kinds=(kind,)).gate > 0 for kind in module.KINDS}
    assert gates['user'][-1, 1]
    assert gates['item'][1, -1]
    assert gates['attribute'][1, 1]
    for name, gate in gates.items():
        # The level of a user and that of an item always pass.
        assert gate[-1, 0]
        assert gate[0, -1]
        assert gate[-1, 1] == (name == 'user')
        assert gate[1, -1] == (name == 'item')
        assert gate[1, 1] == (name == 'attribute')


def test_unknown_kinds_are_refused(sides):
    with pytest.raises(ValueError, match=r"'kinds' must be of .*\(got 'film'\)"):
        make(sides, kinds=('film',))


def test_state_travels_with_a_state_dict(sides, tiny_pairs):
    one, other = make(sides), make(sides)
    one.fit(tiny_pairs[0], tiny_pairs[1].double())
    other.load_state_dict(one.state_dict())
    user, item = tiny_pairs[0]
    assert torch.equal(one(user, item), other(user, item))


def test_sorted_both_ways(tiny_pairs):
    rated, rating = tiny_pairs
    pairs = RatedPairs(rated.flip(1), 12, 15)
    value = rating.flip(0)[pairs.order]
    dense = torch.zeros(12, 15)
    dense[rated[0], rated[1]] = rating
    torch.testing.assert_close(pairs.by_user(value).to_dense(), dense)
    torch.testing.assert_close(pairs.by_item(value).to_dense(), dense.t())
