"""What the layer computes: against a loop, golden numbers and PyG's checklist."""

import copy
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_map_only
from torch_geometric import EdgeIndex
from torch_geometric.testing import assert_module
from torch_geometric.utils import to_torch_csc_tensor

from agnn_pyg.nn import GatedConv

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(12345))
EDGE_INDEX = torch.tensor([[0, 1, 2, 3, 1, 0], [0, 0, 1, 1, 3, 3]])
EDGE_WEIGHT = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.5, 3.0])
EDGE_ATTR = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
NO_EDGES = torch.empty(2, 0, dtype=torch.long)


def loop_reference(conv, x, edge_index, edge_weight=None, edge_attr=None):
    """Node by node, from the formula: gates over `[x_i || x_j]`."""
    (x_source, x_target), rows = x, []
    for i, x_i in enumerate(x_target):
        gated, plain, count = torch.zeros_like(x_i), torch.zeros_like(x_i), 0
        for e, (j, target) in enumerate(edge_index.t().tolist()):
            if target != i:
                continue
            x_j, gate, count = x_source[j], 1, count + 1
            if conv.lin_aggr is not None:
                gate = conv.lin_aggr(torch.cat([x_i, x_j]))
                if edge_attr is not None:
                    gate = gate + conv.lin_edge(edge_attr[e])
                gate = gate.sigmoid()
            weight = 1 if edge_weight is None else edge_weight[e]
            gated = gated + weight * gate * x_j
            plain = plain + weight * x_j
        gated, plain, keep = gated / max(count, 1), plain / max(count, 1), 1
        if conv.lin_filter is not None:
            keep = 1 - conv.lin_filter(torch.cat([x_i, plain])).sigmoid()
        rows.append(F.leaky_relu(keep * x_i + gated, conv.negative_slope))
    return torch.stack(rows)


def random_conv(cls=GatedConv, **kwargs):
    """A layer whose biases matter."""
    torch.manual_seed(0)
    conv = cls(8, **kwargs)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.normal_()
    return conv


def test_gated_conv(device):
    conv, x, target = random_conv().to(device), X.to(device), X[:2].to(device) + 1
    assert str(conv) == 'GatedConv(8)'
    index = EDGE_INDEX.to(device)
    assert_module(conv, x, index, expected_size=(4, 8), atol=1e-5)
    assert_module(conv, (x, target), index[:, :4], expected_size=(2, 8), atol=1e-5)


OPTIONS = [{}, {'negative_slope': 0.5}, {'negative_slope': 1.0, 'bias': False}]
NO_AGGREGATE, NO_FILTER = {'aggregate_gate': False}, {'filter_gate': False}
OPTIONS += [NO_AGGREGATE, NO_FILTER, NO_AGGREGATE | NO_FILTER, {'edge_dim': 2}]


@pytest.mark.parametrize('kwargs', OPTIONS)
@pytest.mark.parametrize('weight', [None, EDGE_WEIGHT])
@pytest.mark.parametrize('bipartite', [False, True])
def test_against_a_loop(kwargs, weight, bipartite, device):
    conv = random_conv(**kwargs)
    x = (X, X[:2] + 1) if bipartite else (X, X)
    edges = EDGE_INDEX[:, :4], None if weight is None else weight[:4]
    attr = EDGE_ATTR[:4] if 'edge_dim' in kwargs else None
    expected = loop_reference(conv, x, *edges, attr)
    inputs = tree_map_only(torch.Tensor, lambda t: t.to(device), (x, *edges, attr))
    out = conv.to(device)(*inputs)
    assert torch.allclose(out.cpu(), expected, atol=1e-5)


def test_golden_numbers(golden):
    numbers = golden('gated_layer')
    inputs, parameters = numbers['inputs'], numbers['parameters']
    names = {'lin_aggr.weight': 'add_weight', 'lin_aggr.bias': 'add_bias'}
    names |= {'lin_filter.weight': 'erase_weight', 'lin_filter.bias': 'erase_bias'}
    conv = GatedConv(6).double()
    conv.load_state_dict({ours: parameters[name] for ours, name in names.items()})
    x_self = inputs['self'].requires_grad_()
    x_neighbor = inputs['neighbours'].requires_grad_()
    source = torch.arange(20)
    out = conv((x_neighbor.view(20, 6), x_self), torch.stack([source, source // 4]))
    out.sum().backward()
    found = {'output': out, 'grad_self': x_self.grad}
    found['grad_neighbours'] = x_neighbor.grad
    for ours, name in names.items():
        found[f'grad_{name}'] = conv.get_parameter(ours).grad
    for name, actual in found.items():
        expected = numbers['outputs'][name]
        assert torch.allclose(actual, expected, rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize('aggr', ['mean', 'sum'])
def test_sparse_matrices_and_edge_index_objects_agree(aggr):
    conv, order = random_conv(aggr=aggr), [5, 2, 0, 3, 1, 4]
    expected = conv(X, EDGE_INDEX, EDGE_WEIGHT)
    adj = to_torch_csc_tensor(EDGE_INDEX, EDGE_WEIGHT, size=(4, 4))
    for layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):
        adj_t = adj.t().to_sparse(layout=layout)
        assert torch.allclose(conv(X, adj_t), expected, atol=1e-5)
    edge_index = EdgeIndex(EDGE_INDEX[:, order], sparse_size=(4, 4))
    weight = EDGE_WEIGHT[order]
    assert torch.allclose(conv(X, edge_index, weight), expected, atol=1e-5)
    for sort_order in ('row', 'col'):
        index, perm = edge_index.sort_by(sort_order)
        assert torch.allclose(conv(X, index, weight[perm]), expected, atol=1e-5)


def test_entries_of_a_sparse_matrix_are_summed_in_any_order():
    conv = random_conv()
    weight = torch.rand(7, requires_grad=True)
    index = EDGE_INDEX.flip(0)[:, [5, 3, 0, 1, 4, 2, 3]]
    adj_t = torch.sparse_coo_tensor(index, weight, (4, 4))
    doubled = weight.index_add(0, torch.tensor([1]), weight[6:])
    out, expected = conv(X, adj_t), conv(X, EDGE_INDEX, doubled[[2, 3, 5, 1, 4, 0]])
    assert torch.allclose(out, expected, atol=1e-6)
    (grad,) = torch.autograd.grad(out.sum(), weight)
    (expected,) = torch.autograd.grad(expected.sum(), weight)
    assert torch.allclose(grad, expected, atol=1e-5)
    assert not adj_t.is_coalesced()


def test_static_graphs():
    conv, x = random_conv(edge_dim=2), torch.randn(3, 4, 8)
    out = conv(x, EDGE_INDEX, EDGE_WEIGHT, EDGE_ATTR)
    assert out.size() == (3, 4, 8)
    for one, features in zip(out, x, strict=True):
        expected = conv(features, EDGE_INDEX, EDGE_WEIGHT, EDGE_ATTR)
        assert torch.allclose(one, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('sorted_edges', [False, True])
def test_compile_without_graph_breaks(sorted_edges, device):
    conv = random_conv(edge_dim=2).to(device)
    inputs = [t.to(device) for t in (X, EDGE_INDEX, EDGE_WEIGHT, EDGE_ATTR)]
    expected = conv(*inputs)
    if sorted_edges:
        inputs[1] = EdgeIndex(inputs[1], sparse_size=(4, 4), sort_order='col')
    with warnings.catch_warnings():
        # What the compiler itself warns of is not ours.
        warnings.simplefilter('ignore')
        assert torch._dynamo.explain(conv)(*inputs).graph_break_count == 0
        out = torch.compile(conv, fullgraph=True, backend='aot_eager')(*inputs)
    assert torch.allclose(out, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_compile_with_a_sparse_matrix():
    conv, adj = random_conv(), to_torch_csc_tensor(EDGE_INDEX, EDGE_WEIGHT, size=(4, 4))
    out = torch.compile(conv, backend='aot_eager')(X, adj.t())
    assert torch.allclose(out, conv(X, EDGE_INDEX, EDGE_WEIGHT), atol=1e-5)


def test_few_nodes_and_edges():
    conv, one = random_conv(), torch.zeros(2, 1, dtype=torch.long)
    for x, edge_index in ((X, NO_EDGES), (X[:1], NO_EDGES), (X[:1], one)):
        expected = loop_reference(conv, (x, x), edge_index)
        assert torch.allclose(conv(x, edge_index), expected, atol=1e-5)
    inputs = NO_EDGES, torch.empty(0), torch.empty(0, 2)
    assert random_conv(edge_dim=2)((X, X[:0]), *inputs).size() == (0, 8)


def test_one_edge_feature_needs_no_column_and_no_input_is_changed():
    conv, inputs = (
        random_conv(edge_dim=1),
        (X, EDGE_INDEX, EDGE_WEIGHT, EDGE_ATTR[:, 0]),
    )
    copies = [tensor.clone() for tensor in inputs]
    out = conv(*inputs)
    assert all(map(torch.equal, inputs, copies))
    assert torch.equal(out, conv(*inputs[:3], EDGE_ATTR[:, :1]))


def test_other_aggregations():
    conv, one = random_conv(), torch.tensor([[1], [0]])
    several = {'aggr': ['mean', 'max'], 'aggr_kwargs': {'mode': 'mean'}}
    for kwargs in ({'aggr': 'sum'}, {'aggr': 'max'}, several):
        other = random_conv(**kwargs)
        # All are the same for one message.
        assert torch.allclose(conv(X, one)[0], other(X, one)[0], atol=1e-6)
        assert not torch.allclose(conv(X, EDGE_INDEX), other(X, EDGE_INDEX), atol=1e-3)


def test_state_dict_and_copies():
    conv, other = random_conv(edge_dim=2), GatedConv(8, edge_dim=2)
    gates = ['lin_aggr.bias', 'lin_aggr.weight', 'lin_filter.bias', 'lin_filter.weight']
    assert sorted(GatedConv(8).state_dict()) == gates
    assert not GatedConv(8, aggregate_gate=False, filter_gate=False).state_dict()
    assert sorted(conv.state_dict()) == sorted([*gates, 'lin_edge.weight'])
    inputs = X, EDGE_INDEX, None, EDGE_ATTR
    expected = conv(*inputs)
    other.load_state_dict(conv.state_dict())
    copied, pickled = copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))
    conv.reset_parameters()
    assert not torch.equal(conv(*inputs), expected)
    for same in (other, copied, pickled):
        assert torch.equal(same(*inputs), expected)


def test_reset_parameters_draws_from_the_range_of_a_whole_matrix():
    conv = GatedConv(64)
    for lin in (conv.lin_aggr, conv.lin_filter):
        torch.nn.init.constant_(lin.weight, 7)
        conv.reset_parameters()
        bound = (6 / (3 * 64)) ** 0.5
        assert 0.95 * bound < lin.weight.abs().max() <= bound


def test_arguments_that_do_not_fit():
    for kwargs, error, match in (
        ({'channels': -1}, ValueError, r"'channels' .*lazy .*-1"),
        ({'channels': (16, 16)}, ValueError, r"'channels' .*\(16, 16\)"),
        ({'channels': 2.5}, ValueError, r"'channels' .*2.5"),
        ({'edge_dim': -1}, ValueError, r"'edge_dim' .*-1"),
        ({'edge_dim': 2, 'aggregate_gate': False}, ValueError, r"'edge_dim' "),
        ({'aggr': ['mean', 'max']}, ValueError, r"'aggr' .*'max'"),
        ({'decomposed_layers': 2}, TypeError, 'decomposed_layers'),
    ):
        with pytest.raises(error, match=match):
            GatedConv(**{'channels': 8} | kwargs)
        with pytest.raises(TypeError, match='positional'):
            GatedConv(16, 32)  # a second width is not taken for an option
