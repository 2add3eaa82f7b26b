import numpy as np
import pytest
import torch

from agnn_pyg.nn.rating_layer import RatingLayer, RidgeSlopes, rated_edges
from tests.conftest import run_python

SIZE = 6, 7
CHANNELS, DAMPING = 4, 5.0


def pairs():
    """Rated pairs and centred ratings; user 5 and item 6 have none."""
    rng = np.random.default_rng(0)
    user, item = (rng.random((5, 6)) < 0.6).nonzero()
    index = torch.from_numpy(np.stack([user, item]))
    return index, torch.from_numpy(rng.normal(size=len(user)))


def biases_and_residuals(index, rating):
    """Three sweeps of damped means, items before users."""
    index, rating = index.tolist(), rating.tolist()
    bias = [np.zeros(SIZE[0]), np.zeros(SIZE[1])]
    for end in (1, 0) * 3:
        for node in range(SIZE[end]):
            rest = [
                r - bias[1 - end][edge[1 - end]]
                for *edge, r in zip(*index, rating, strict=True)
                if edge[end] == node
            ]
            bias[end][node] = sum(rest) / (len(rest) + DAMPING)
    triples = zip(*index, rating, strict=True)
    return bias, [r - bias[0][u] - bias[1][i] for u, i, r in triples]


@pytest.fixture
def layer():
    """Makes a layer of doubles in evaluation mode; no parameter of it is zero."""

    def make(**kwargs):
        torch.manual_seed(0)
        options = {'spectral_channels': 3, 'slope_channels': 3} | kwargs
        layer = RatingLayer(SIZE, CHANNELS, **options).double().eval()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
        layer.fit_positions(pairs()[0])
        return layer

    return make


def inputs(seed=1):
    torch.manual_seed(seed)
    return [[torch.randn(n, CHANNELS).double() for n in SIZE] for _ in range(2)]


def test_sums_over_edges():
    index, rating = pairs()
    edges, _ = rated_edges(index, rating, SIZE)
    _, residual = biases_and_residuals(index, rating)
    for end in (0, 1):
        x = torch.randn(SIZE[1 - end], 3).double().requires_grad_()
        for weight in (np.ones(len(rating)), residual):
            dense = np.zeros((SIZE[end], SIZE[1 - end]))
            dense[index[end], index[1 - end]] = weight
            found = edges.sum(end, x, residual=weight is residual)
            (grad,) = torch.autograd.grad(found.square().sum(), x)
            found = found.detach().numpy()
            np.testing.assert_allclose(found, dense @ x.detach().numpy(), atol=1e-12)
            np.testing.assert_allclose(grad, dense.T @ (2 * found), atol=1e-12)


def test_edges_of_positives_carry_weights_and_popularity():
    index, rating = pairs()
    weight = rating.abs() + 0.5
    edges, bias = rated_edges(index, weight, SIZE, positives=True)
    dense = np.zeros(SIZE)
    dense[tuple(index.numpy())] = weight
    for end, matrix in ((0, dense), (1, dense.T)):
        x = torch.randn(SIZE[1 - end], 3).double()
        found = edges.sum(end, x, residual=True)
        np.testing.assert_allclose(found, matrix @ x.numpy(), atol=1e-12)
    count = (dense > 0).sum(axis=0)
    mean = count.sum() / (count > 0).sum()
    for item in range(SIZE[1]):
        expected = np.log((count[item] + DAMPING) / (mean + DAMPING))
        assert bias[1][item] == pytest.approx(expected * (count[item] > 0))
    assert bias[0].eq(0).all()


def test_layer_of_positives_without_slopes(layer):
    index, rating = pairs()
    made = layer(positives=True)
    assert not hasattr(made, 'ridge')
    x, attributes = inputs()
    first, twice = (made(x, attributes, index, k * rating.abs()) for k in (1, 2))
    for end in (0, 1):
        assert first[end].slope.eq(0).all()
        assert torch.equal(first[end].bias, twice[end].bias)
        has_edges = index[end].bincount(minlength=SIZE[end]) > 0
        changed = (first[end].x - twice[end].x).abs().amax(1) > 1e-6
        assert torch.equal(changed, has_edges)


def test_gradients_of_slopes():
    edges, _ = rated_edges(*pairs(), SIZE)
    ridge, z = RidgeSlopes(3).double(), torch.randn(SIZE[0], 3).double()
    assert ridge.log_penalty.exp().detach().numpy() == pytest.approx(20)

    def slopes(z, log_penalty):
        state = {'log_penalty': log_penalty}
        return torch.func.functional_call(ridge, state, (edges, 1, z))

    assert torch.autograd.gradcheck(
        slopes, (z.requires_grad_(), ridge.log_penalty.detach().requires_grad_())
    )


def test_positions_of_training_edges_are_singular_vectors(layer):
    index, rating = pairs()
    matrix = np.zeros(SIZE)
    matrix[tuple(index.numpy())] = 1
    degree = [matrix.sum(1) + DAMPING, matrix.sum(0) + DAMPING]
    scaled = matrix / np.sqrt(degree[0])[:, None] / np.sqrt(degree[1])
    left, _, right = np.linalg.svd(scaled)
    made, singular = layer(), (left[:, :3], right[:3].T)
    edges, _ = rated_edges(index, rating, SIZE)
    for end in (0, 1):
        found = edges.sum(end, made.vectors[1 - end]).numpy()
        found = found / np.sqrt(degree[end])[:, None]
        for column in singular[end].T:  # signs are free
            product = np.abs(found.T @ column)
            assert product.max() == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-6)


def test_positions_where_singular_values_are_equal_or_zero():
    # Two groups of users rate the same items each: two singular values, both equal.
    grid = torch.cartesian_prod(torch.arange(3), torch.arange(4)).t()
    index, found = torch.cat([grid, grid + torch.tensor([[3], [4]])], dim=1), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        layer = RatingLayer((7, 9), 4, spectral_channels=32)
        layer.fit_positions(index)
        assert layer.vectors[0].size() == (7, 7)
        assert all(vectors[:, :2].ne(0).any(0).all() for vectors in layer.vectors)
        assert all(vectors[:, 2:].eq(0).all() for vectors in layer.vectors)
        assert all(vectors[-1].eq(0).all() for vectors in layer.vectors)
        found.append(torch.cat(layer.vectors))
    assert torch.equal(*found)
    layer = RatingLayer((1, 1), 4)
    layer.fit_positions(torch.tensor([[0], [0]]))
    assert layer.vectors[0].abs().item() == pytest.approx(6**0.5)


class Loop:
    """The layer node by node: `mine` maps each neighbor of a node to its residual."""

    def __init__(self, layer):
        self.layer = layer

    def know(self, end, x, attributes, mine, vectors):
        layer = self.layer
        position = torch.zeros(layer.spectral_channels).double()
        for j in mine:
            position = position + vectors[j]
        if mine:
            position = position / position.norm()
        degree = torch.tensor([np.log(1 + len(mine)) / 5])
        x = x + layer.lin_count[end](degree)
        features = [torch.ones(1).double()]
        if layer.slope_channels > 1:
            features.insert(0, layer.lin_feature[end](attributes))
        if layer.spectral_channels:
            x = x + layer.lin_position[end](position)
            if layer.slope_channels > 1:
                features[0] = features[0] + layer.lin_feature_position[end](position)
        return x, torch.cat(features)

    def slope(self, end, x, mine, feature):
        layer = self.layer
        if not layer.slope_channels:
            return x, torch.zeros(1).double()
        gram, right = layer.ridge[end].log_penalty.exp().diag(), 0
        for j, residual in mine.items():
            gram = gram + torch.outer(feature[j], feature[j])
            right = right + residual * feature[j]
        slope = torch.zeros(layer.slope_channels).double()
        if mine:
            slope = torch.linalg.solve(gram, right)
        return x + layer.lin_slope[end](slope), slope * layer.slope_weight[end]

    def update(self, end, x, mine, source):
        layer = self.layer
        if layer.messages:
            message = torch.zeros(CHANNELS).double()
            for j, residual in mine.items():
                message = message + residual * layer.lin_residual[end](source[j])
                message = message + layer.lin_mean[end](source[j])
            message = message / (0.3 * (len(mine) + DAMPING))
            gate = torch.sigmoid(layer.lin_gate[end](torch.cat([x, message])))
            x = x + gate * message
        return x + layer.lin_out[end](layer.lin_in[end](x).relu())


def neighbors(end, index, residual):
    found = [{} for _ in range(SIZE[end])]
    for *edge, value in zip(*index.tolist(), residual, strict=True):
        found[edge[end]][edge[1 - end]] = value
    return found


OPTIONS = [{}, {'spectral_channels': 0}, {'slope_channels': 0}, {'slope_channels': 1}]


@pytest.mark.parametrize('options', [*OPTIONS, {'messages': False}])
@torch.no_grad()
def test_embeddings_against_a_loop_over_nodes(layer, options):
    made, (x, attributes), (index, rating) = layer(**options), inputs(), pairs()
    bias, residual = biases_and_residuals(index, rating)
    loop, mine = Loop(made), [neighbors(end, index, residual) for end in (0, 1)]
    known, sloped = [], []
    for end in (0, 1):
        nodes = zip(x[end], attributes[end], mine[end], strict=True)
        v = made.vectors[1 - end]
        known.append([loop.know(end, *parts, v) for parts in nodes])
    feature = [[z for _, z in part] for part in known]
    for end in (0, 1):
        nodes, z = zip(known[end], mine[end], strict=True), feature[1 - end]
        sloped.append([loop.slope(end, node, edges, z) for (node, _), edges in nodes])
    source = [[node for node, _ in part] for part in sloped]
    for end, state in enumerate(made(x, attributes, index, rating)):
        pairs_of = zip(source[end], mine[end], strict=True)
        new = [loop.update(end, *part, source[1 - end]) for part in pairs_of]
        for found, expected in (
            (state.x, torch.stack(new)),
            (state.bias, torch.from_numpy(bias[end])),
            (state.slope, torch.stack([slope for _, slope in sloped[end]])),
            (state.source, torch.stack(source[end])),
            (state.feature, torch.stack(feature[end])),
        ):
            torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
        assert state.bias[-1] == 0
        assert state.slope[-1].eq(0).all()


@pytest.mark.parametrize('end', [0, 1])
@torch.no_grad()
def test_new_nodes_read_the_other_end_and_change_nothing(layer, end):
    made, (x, attributes), (index, rating) = layer(), inputs(), pairs()
    states = made(x, attributes, index, rating)
    new, other, loop = inputs(2), states[1 - end], Loop(made)
    edge_index = torch.tensor([[0, 3, 4, 3], [0, 0, 0, 2]])  # from old nodes to new
    value = torch.tensor([1.0, -2.0, 0.5, 1.5]).double()
    pairs_of_both = edge_index if end == 1 else edge_index.flip(0)
    added = made.add_nodes(end, *(n[end] for n in new), pairs_of_both, value, other)
    for node in range(SIZE[end]):
        edges = (edge_index[1] == node).nonzero().squeeze(1)
        rest = {
            int(edge_index[0, e]): float(value[e] - other.bias[edge_index[0, e]])
            for e in edges
        }
        bias = sum(rest.values()) / (len(rest) + DAMPING)
        mine = {j: value - bias for j, value in rest.items()}
        parts = new[0][end][node], new[1][end][node]
        expected, feature = loop.know(end, *parts, mine, other.vectors)
        expected, slope = loop.slope(end, expected, mine, other.feature)
        assert float(added.bias[node]) == pytest.approx(bias)
        torch.testing.assert_close(added.feature[node], feature)
        torch.testing.assert_close(added.slope[node], slope)
        expected = loop.update(end, expected, mine, other.source)
        torch.testing.assert_close(added.x[node], expected)
    # A node of the fit without edges, added anew.
    same = [part[end][-1:] for part in (x, attributes)]
    none = torch.empty(2, 0).long(), torch.empty(0).double()
    added = made.add_nodes(end, *same, *none, other)
    for name in ('x', 'bias', 'slope', 'feature', 'source'):
        found, expected = getattr(added, name), getattr(states[end], name)[-1:]
        torch.testing.assert_close(found, expected, msg=name)


@torch.no_grad()
def test_nodes_of_a_batch_have_the_positions_of_their_ids(layer):
    made, (x, attributes), (index, rating) = layer(), inputs(), pairs()
    order = [torch.randperm(n, generator=torch.manual_seed(n)) for n in SIZE]
    place = [part.argsort() for part in order]
    edge_index = torch.stack([p[row] for p, row in zip(place, index, strict=True)])
    moved = [[v[o] for v, o in zip(p, order, strict=True)] for p in (x, attributes)]
    states = made(*moved, edge_index, rating, order), made(x, attributes, index, rating)
    for rows, state, other in zip(order, *states, strict=True):
        torch.testing.assert_close(state.x, other.x[rows])
        torch.testing.assert_close(state.slope, other.slope[rows])
    # A node that came later has no vector, but edges give it a position.
    late = [torch.arange(n) + (torch.arange(n) == 0) * 100 for n in SIZE]
    for end, state in enumerate(made(x, attributes, index, rating, late)):
        assert state.vectors[0].eq(0).all()
        assert torch.equal(state.vectors[1:], made.vectors[end][1:])


def test_training_starts_at_the_inputs(layer):
    made = layer()
    made.reset_parameters()
    for lin in made.lin_out:
        assert lin.weight.eq(0).all()
        assert lin.bias.eq(0).all()
    assert made.slope_weight.eq(0.5).all()
    (x, attributes), (index, rating) = inputs(), pairs()
    states = made.train()(x, attributes, index, rating)
    sum(part.square().sum() for state in states for part in state).backward()
    for name, parameter in made.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


def test_ratings_and_ids_that_do_not_fit_are_named(layer):
    made, nodes, (index, rating) = layer(), inputs(), pairs()
    for wrong in (rating[:1], rating[:, None]):
        with pytest.raises(ValueError, match=r"'rating'.*one for each edge"):
            made(*nodes, index, wrong)
    nodes = [[part[0], part[1].repeat(2, 1)] for part in nodes]
    with pytest.raises(ValueError, match="'n_id'"):
        made(*nodes, index, rating)
    for dtype in (torch.bfloat16, torch.half):  # sums of counts would be rounded
        with pytest.raises(ValueError, match=f"'RatingLayer'.*{dtype}.*autocast"):
            made.to(dtype)(*inputs(), index, rating)


FRESH = """
import warnings, torch, torch_geometric.nn
kept = [*warnings.filters]
from agnn_pyg.nn.rating_layer import RatedEdges
assert warnings.filters == kept
warnings.simplefilter('error')
RatedEdges(torch.zeros(2, 1).long(), torch.ones(1), (1, 1))
"""


@pytest.mark.slow
def test_sparse_tensors_neither_warn_nor_filter_warnings():
    run_python('-c', FRESH)
