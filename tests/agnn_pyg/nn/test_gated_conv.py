import copy
import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch_geometric import EdgeIndex
from torch_geometric.testing import assert_module
from torch_geometric.utils import to_torch_csc_tensor

from agnn_pyg.nn import GatedConv

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(12345))
EDGE_INDEX = torch.tensor([[0, 1, 2, 3, 1, 0], [0, 0, 1, 1, 3, 3]])


def loop_reference(conv, x_source, x_target, edge_index, edge_weight=None):
    """Node by node, from the formula: gates over `[x_i || x_j]`."""
    if edge_weight is None:
        edge_weight = torch.ones(edge_index.size(1), dtype=x_source.dtype)
    rows = []
    for i, x_i in enumerate(x_target):
        gated, plain, count = torch.zeros_like(x_i), torch.zeros_like(x_i), 0
        for e, (j, target) in enumerate(edge_index.t().tolist()):
            if target != i:
                continue
            x_j, gate = x_source[j], 1
            if conv.lin_aggr is not None:
                gate = conv.lin_aggr(torch.cat([x_i, x_j])).sigmoid()
            gated = gated + edge_weight[e] * gate * x_j
            plain = plain + edge_weight[e] * x_j
            count += 1
        gated, plain = gated / max(count, 1), plain / max(count, 1)
        keep = 1
        if conv.lin_filter is not None:
            keep = 1 - conv.lin_filter(torch.cat([x_i, plain])).sigmoid()
        rows.append(F.leaky_relu(keep * x_i + gated, conv.negative_slope))
    return torch.stack(rows)


def random_conv(**kwargs):
    """A layer whose biases matter."""
    torch.manual_seed(0)
    conv = GatedConv(8, **kwargs)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.normal_()
    return conv


def test_gated_conv(device):
    conv = GatedConv(8).to(device)
    assert str(conv) == 'GatedConv(8)'
    assert_module(
        conv, X.to(device), EDGE_INDEX.to(device), expected_size=(4, 8), atol=1e-6
    )


@pytest.mark.parametrize(
    'kwargs',
    [
        {},
        {'negative_slope': 0.5},
        {'bias': False},
        {'aggregate_gate': False},
        {'filter_gate': False},
        {'aggregate_gate': False, 'filter_gate': False},
    ],
)
@pytest.mark.parametrize('weighted', [False, True])
def test_gated_conv_against_a_loop(kwargs, weighted, device):
    conv = random_conv(**kwargs).double()
    x = X.double()
    edge_weight = torch.rand(6, dtype=torch.double) if weighted else None
    expected = loop_reference(conv, x, x, EDGE_INDEX, edge_weight)
    conv = conv.to(device)
    if weighted:
        edge_weight = edge_weight.to(device)
    out = conv(x.to(device), EDGE_INDEX.to(device), edge_weight)
    assert torch.allclose(out.cpu(), expected, atol=1e-12)


def test_golden_numbers(golden):
    numbers = golden('gated_layer')
    inputs, parameters = numbers['inputs'], numbers['parameters']
    conv = GatedConv(6).double()
    conv.load_state_dict(
        {
            'lin_aggr.weight': parameters['add_weight'],
            'lin_aggr.bias': parameters['add_bias'],
            'lin_filter.weight': parameters['erase_weight'],
            'lin_filter.bias': parameters['erase_bias'],
        }
    )
    x_self = inputs['self'].requires_grad_()
    x_neighbor = inputs['neighbours'].requires_grad_()
    source = torch.arange(20)
    edge_index = torch.stack([source, source // 4])
    out = conv((x_neighbor.view(20, 6), x_self), edge_index)
    out.sum().backward()
    for name, actual in (
        ('output', out),
        ('grad_self', x_self.grad),
        ('grad_neighbours', x_neighbor.grad),
        ('grad_add_weight', conv.lin_aggr.weight.grad),
        ('grad_add_bias', conv.lin_aggr.bias.grad),
        ('grad_erase_weight', conv.lin_filter.weight.grad),
        ('grad_erase_bias', conv.lin_filter.bias.grad),
    ):
        expected = numbers['outputs'][name]
        assert torch.allclose(actual, expected, rtol=1e-9, atol=1e-9), name


def test_sparse_layouts_agree():
    conv = GatedConv(8)
    out = conv(X, EDGE_INDEX)
    adj = to_torch_csc_tensor(EDGE_INDEX, size=(4, 4))
    assert torch.allclose(conv(X, adj.t()), out, atol=1e-6)
    for layout in (torch.sparse_coo, torch.sparse_csc):
        adj_t = adj.t().to_sparse(layout=layout)
        assert torch.allclose(conv(X, adj_t), out, atol=1e-6)


def test_entries_of_a_sparse_matrix_in_any_order_and_number():
    """The two of one edge are one of the sum of their weights."""
    conv = random_conv()
    weight = torch.rand(7, requires_grad=True)
    index = EDGE_INDEX.flip(0)[:, [5, 3, 0, 1, 4, 2, 3]]
    adj_t = torch.sparse_coo_tensor(index, weight, (4, 4))
    assert not adj_t.is_coalesced()
    summed = torch.stack(
        [weight[2], weight[3], weight[5], weight[1] + weight[6], weight[4], weight[0]]
    )
    out, expected = conv(X, adj_t), conv(X, EDGE_INDEX, summed)
    assert torch.allclose(out, expected, atol=1e-6)
    (grad,) = torch.autograd.grad(out.sum(), weight)
    (expected,) = torch.autograd.grad(expected.sum(), weight)
    assert torch.allclose(grad, expected, atol=1e-5)
    assert not adj_t.is_coalesced()


@pytest.mark.parametrize('sort_order', ['row', 'col'])
def test_edge_index_objects_agree(sort_order):
    conv = GatedConv(8)
    edge_index = EdgeIndex(EDGE_INDEX, sparse_size=(4, 4)).sort_by(sort_order).values
    assert edge_index.sort_order == sort_order
    assert torch.allclose(conv(X, edge_index), conv(X, EDGE_INDEX), atol=1e-6)


def test_bipartite_gated_conv(device):
    conv = random_conv().to(device)
    x = X.to(device), torch.randn(2, 8).to(device)
    edge_index = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 1]], device=device)
    out = assert_module(conv, x, edge_index, expected_size=(2, 8), atol=1e-6, rtol=1e-4)
    assert torch.allclose(conv(x, edge_index, size=(4, 2)), out, atol=1e-6)
    expected = loop_reference(conv.cpu(), x[0].cpu(), x[1].cpu(), edge_index.cpu())
    assert torch.allclose(out.cpu(), expected, atol=1e-5)


def test_size_of_one_kind_of_node():
    conv = GatedConv(8)
    assert torch.equal(conv(X, EDGE_INDEX, size=(4, 4)), conv(X, EDGE_INDEX))


def test_static_gated_conv():
    conv = GatedConv(8)
    x = torch.randn(3, 4, 8)
    out = conv(x, EDGE_INDEX)
    assert out.size() == (3, 4, 8)
    for one, features in zip(out, x, strict=True):
        assert torch.allclose(one, conv(features, EDGE_INDEX), atol=1e-6)


def test_weighted_static_gated_conv():
    conv, x, edge_weight = GatedConv(8), torch.randn(3, 4, 8), torch.rand(6)
    out = conv(x, EDGE_INDEX, edge_weight)
    for one, features in zip(out, x, strict=True):
        expected = conv(features, EDGE_INDEX, edge_weight)
        assert torch.allclose(one, expected, atol=1e-6)


def test_flow_target_to_source():
    conv = random_conv()
    other = random_conv(flow='target_to_source')
    flipped = EDGE_INDEX.flip(0)
    assert torch.allclose(other(X, flipped), conv(X, EDGE_INDEX), atol=1e-6)


@pytest.mark.slow
def test_compile_gated_conv(device):
    with warnings.catch_warnings():
        # What the compiler itself warns of is not ours.
        warnings.simplefilter('ignore')
        x, edge_index = X.to(device), EDGE_INDEX.to(device)
        conv = GatedConv(8).to(device)
        expected = conv(x, edge_index)
        explanation = torch._dynamo.explain(conv)(x, edge_index)
        assert explanation.graph_break_count == 0
        compiled = torch.compile(conv, fullgraph=True, backend='aot_eager')
        out = compiled(x, edge_index)
    assert torch.allclose(out, expected, atol=1e-6)


def test_propagate_is_generated():
    # A star import of the layer's file that lacks a name falls back, silently.
    conv = GatedConv(8)
    assert conv.propagate.__module__.endswith('GatedConv_propagate')


def test_isolated_nodes_keep_what_their_filter_leaves():
    conv = random_conv()
    out = conv(X, EDGE_INDEX)
    keep = 1 - conv.lin_filter(torch.cat([X[2], torch.zeros(8)])).sigmoid()
    assert torch.allclose(out[2], F.leaky_relu(keep * X[2], 0.01), atol=1e-6)


def test_a_graph_without_edges():
    conv = random_conv()
    nothing = torch.empty(2, 0, dtype=torch.long)
    expected = loop_reference(conv, X, X, nothing)
    assert torch.allclose(conv(X, nothing), expected, atol=1e-6)
    assert conv(X, nothing, torch.empty(0)).size() == (4, 8)
    assert conv((X, X[:0]), nothing).size() == (0, 8)


def test_a_single_node():
    conv = random_conv()
    for edge_index in (torch.empty(2, 0).long(), torch.zeros(2, 1).long()):
        out = conv(X[:1], edge_index)
        expected = loop_reference(conv, X[:1], X[:1], edge_index)
        assert torch.allclose(out, expected, atol=1e-6)


def test_relabelling_the_nodes_relabels_the_output():
    conv = GatedConv(8)
    order = torch.tensor([2, 0, 3, 1])
    label = order.argsort()
    out = conv(X[order], label[EDGE_INDEX])
    assert torch.allclose(out, conv(X, EDGE_INDEX)[order], atol=1e-6)


def test_gradients():
    torch.manual_seed(0)
    conv = GatedConv(3).double()
    x = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    edge_weight = torch.rand(6, dtype=torch.double, requires_grad=True)

    def forward(x, edge_weight, *parameters):
        named = dict(zip(dict(conv.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(conv, named, (x, EDGE_INDEX, edge_weight))

    assert torch.autograd.gradcheck(forward, (x, edge_weight, *conv.parameters()))


def test_every_parameter_gets_a_gradient():
    conv = GatedConv(8)
    conv(X, EDGE_INDEX).sum().backward()
    for parameter in conv.parameters():
        assert parameter.grad.abs().sum() > 0


def test_weights_of_one_change_nothing():
    conv = GatedConv(8)
    out = conv(X, EDGE_INDEX, torch.ones(6))
    assert torch.allclose(out, conv(X, EDGE_INDEX), atol=1e-6)


def test_a_slope_of_one_is_the_identity():
    conv = random_conv(negative_slope=1.0)
    plain = random_conv()
    out = conv(X, EDGE_INDEX)
    assert (out < 0).any()
    assert torch.allclose(F.leaky_relu(out, 0.01), plain(X, EDGE_INDEX), atol=1e-6)


def test_gates_that_are_off_have_no_parameters():
    conv = GatedConv(8, aggregate_gate=False, filter_gate=False, negative_slope=1.0)
    assert list(conv.parameters()) == []
    edge_index = torch.tensor([[1, 2], [0, 0]])
    out = conv(X, edge_index)
    assert torch.allclose(out[0], X[0] + (X[1] + X[2]) / 2, atol=1e-6)
    assert torch.equal(out[1:], X[1:])


def test_other_aggregations_pass_through():
    conv, other = random_conv(), random_conv(aggr='sum')
    one = torch.tensor([[1], [0]])
    assert torch.allclose(conv(X, one), other(X, one), atol=1e-6)
    assert not torch.allclose(conv(X, EDGE_INDEX), other(X, EDGE_INDEX), atol=1e-3)


def test_state_dict_round_trip():
    conv, other = GatedConv(8), GatedConv(8)
    names = ['lin_aggr.weight', 'lin_aggr.bias', 'lin_filter.weight', 'lin_filter.bias']
    assert sorted(conv.state_dict()) == sorted(names)
    assert not torch.equal(conv(X, EDGE_INDEX), other(X, EDGE_INDEX))
    other.load_state_dict(conv.state_dict())
    assert torch.equal(conv(X, EDGE_INDEX), other(X, EDGE_INDEX))


def test_deepcopy_is_independent():
    conv = GatedConv(8)
    other = copy.deepcopy(conv)
    out = conv(X, EDGE_INDEX)
    assert torch.equal(other(X, EDGE_INDEX), out)
    other.reset_parameters()
    assert torch.equal(conv(X, EDGE_INDEX), out)
    assert not torch.equal(other(X, EDGE_INDEX), out)


def test_reset_parameters_draws_all_anew():
    conv = GatedConv(8)
    before = conv.lin_aggr.weight.clone(), conv.lin_filter.weight.clone()
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.fill_(7)
    conv.reset_parameters()
    assert all(not parameter.eq(7).any() for parameter in conv.parameters())
    assert not torch.equal(conv.lin_aggr.weight, before[0])
    assert not torch.equal(conv.lin_filter.weight, before[1])


def test_the_input_is_left_alone():
    conv, x, edge_index = GatedConv(8), X.clone(), EDGE_INDEX.clone()
    conv(x, edge_index, torch.rand(6))
    assert torch.equal(x, X)
    assert torch.equal(edge_index, EDGE_INDEX)


@pytest.mark.parametrize('channels', [-1, 0, (16, 16), 2.5, None])
def test_gated_conv_error(channels):
    got = re.escape(f'(got {channels})')
    with pytest.raises(ValueError, match=rf"'channels' .*{got}.*lazy"):
        GatedConv(channels)


def test_a_second_width_is_not_taken_for_a_slope():
    with pytest.raises(TypeError, match='positional'):
        GatedConv(16, 32)


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        ({'aggr': ['mean', 'max']}, r"'aggr' must keep .*\(got \['mean', 'max'\]\)"),
        ({'decomposed_layers': 2}, r"'decomposed_layers' must be 1 \(got 2\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(kwargs, match):
    with pytest.raises(ValueError, match=match):
        GatedConv(8, **kwargs)


def test_several_aggregations_of_one_width_pass_through():
    kwargs = {'aggr': ['mean', 'mean'], 'aggr_kwargs': {'mode': 'sum'}}
    one = torch.tensor([[1], [0]])
    out = random_conv(**kwargs)(X, one)
    assert torch.allclose(out, random_conv()(X, one, torch.tensor([2.0])), atol=1e-6)


def test_widths_must_agree():
    conv = GatedConv(8)
    with pytest.raises(ValueError, match=r"'channels' \(8\) on both ends \(got 5\)"):
        conv(X[:, :5], EDGE_INDEX)
    with pytest.raises(ValueError, match=r'\(got 3\)'):
        conv((X, X[:2, :3]), torch.tensor([[0, 1], [0, 1]]))
