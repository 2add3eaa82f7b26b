"""All ways through the layer give the same numbers, and wrong input is named."""

from unittest.mock import Mock

import pytest
import torch
import torch.utils.checkpoint
from torch_geometric import EdgeIndex
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks
from torch_geometric.utils import to_torch_csc_tensor

from agnn_pyg.nn import GatedConv, gated_mean
from tests.agnn_pyg.nn.test_gated_conv import random_conv

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(1)).double()
EDGE_INDEX = torch.tensor([[0, 1, 2, 3, 1, 0, 5], [0, 0, 1, 1, 3, 3, 4]])
EDGE_WEIGHT = torch.rand(7, generator=torch.Generator().manual_seed(0)).double()
EDGE_ATTR = torch.rand(7, 2, generator=torch.Generator().manual_seed(1)).double()
SORTED = EdgeIndex(EDGE_INDEX, sparse_size=(6, 6), sort_order='col')
ADJ_T = to_torch_csc_tensor(EDGE_INDEX, size=(6, 6)).t().to_sparse_csr().double()


def layer(cls=GatedConv, **kwargs):
    return random_conv(cls, **kwargs).double()


@pytest.mark.parametrize('flow', ['source_to_target', 'target_to_source'])
@pytest.mark.parametrize('kwargs', [{}, {'filter_gate': False}, {'edge_dim': 2}])
def test_paths_and_flows_agree(monkeypatch, kwargs, flow):
    monkeypatch.setattr(gated_mean, 'BLOCK_NUMEL', {'cpu': 40})
    leaves = [t.clone().requires_grad_() for t in (X, 1 - X[:5], EDGE_WEIGHT)]
    if 'edge_dim' in kwargs:
        leaves.append(EDGE_ATTR.clone().requires_grad_())

    def run(conv, edge_index, size):
        out = conv(tuple(leaves[:2]), edge_index, *leaves[2:], size=size)
        wanted = [*leaves, *conv.parameters()]
        return [out, *torch.autograd.grad(out.square().sum(), wanted)]

    expected = run(layer(**kwargs), EDGE_INDEX, (6, 5))
    conv, edges = layer(flow=flow, **kwargs), (EDGE_INDEX, (6, 5))
    if flow == 'target_to_source':
        edges = EDGE_INDEX.flip(0), (5, 6)
    torch.testing.assert_close(run(conv, *edges), expected, rtol=1e-12, atol=1e-12)
    conv.fuse = False
    torch.testing.assert_close(run(conv, *edges), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('edge_index', [EDGE_INDEX, SORTED, ADJ_T])
def test_no_messages_are_made_unless_there_is_a_hook(edge_index):
    conv, made = layer(), []
    expected, message = conv(X, edge_index, size=(6, 6)), conv.message
    conv.message = lambda *args, **kwargs: made.append(1) or message(*args, **kwargs)
    conv(X, edge_index, size=(6, 6))
    assert made == []
    for part in ('propagate', 'message', 'aggregate'):
        for when in ('pre_hook', 'hook'):
            called = []
            register = getattr(conv, f'register_{part}_forward_{when}')
            register(lambda *args, called=called: called.append(1))
            torch.testing.assert_close(conv(X, edge_index), expected)
            assert called == [1], (part, when)
    assert len(made) == 6


def test_a_subclass_that_changes_a_part_is_heard():
    class Message(GatedConv):
        def message(self, x_j, u_j, v_i, w, e):
            return 2 * super().message(x_j, u_j, v_i, w, e)

    class Aggregate(GatedConv):
        def aggregate(self, inputs, index, ptr=None, dim_size=None):
            return 2 * super().aggregate(inputs, index, ptr, dim_size)

    class Update(GatedConv):
        def update(self, inputs):
            return 2 * inputs

    two = torch.full((7,), 2.0).double()
    for doubled in (Message, Aggregate, Update):
        out = layer(doubled)(X, SORTED)
        torch.testing.assert_close(out, layer()(X, EDGE_INDEX, two))


def test_the_first_layer_of_a_class_does_not_decide_for_others():
    """PyG generates `propagate` once for a class, with or without a fused path."""

    class Fresh(GatedConv):
        pass

    Fresh(8, aggr=['mean', 'max'], aggr_kwargs={'mode': 'sum'})
    for edge_index in (EDGE_INDEX, SORTED, ADJ_T):
        conv, fused = layer(Fresh), Mock(return_value=None)
        conv.register_message_and_aggregate_forward_hook(fused)
        torch.testing.assert_close(conv(X, edge_index), layer()(X, EDGE_INDEX))
        assert fused.call_count == (edge_index is SORTED)


@pytest.mark.parametrize('error', [torch.OutOfMemoryError, RuntimeError, ValueError])
def test_errors_of_the_fused_path_are_not_hidden(monkeypatch, error):
    fail = Mock(side_effect=error('of the fused path'))
    monkeypatch.setattr(gated_mean.GatedMean, 'apply', fail)
    with pytest.raises(error, match='of the fused path'):
        layer()(X, EDGE_INDEX)


@pytest.mark.parametrize('flow', ['source_to_target', 'target_to_source'])
def test_an_explained_layer_gives_the_same_numbers(flow):
    conv, x = layer(flow=flow), (X, X[:5])
    edge_index = EDGE_INDEX if flow == 'source_to_target' else EDGE_INDEX.flip(0)
    expected = conv(x, edge_index)
    set_masks(conv, torch.ones(7).double(), edge_index, apply_sigmoid=False)
    torch.testing.assert_close(conv(x, edge_index), expected)
    clear_masks(conv)
    torch.testing.assert_close(conv(x, edge_index), expected)


def test_gates_are_returned_as_in_the_formula():
    conv, (src, dst) = layer(edge_dim=2), EDGE_INDEX
    for edge_index in (EDGE_INDEX, SORTED):
        args = X, edge_index, None, EDGE_ATTR
        out, (aggregate_gate, filter_gate) = conv(*args, return_gates=True)
        torch.testing.assert_close(out, conv(*args))
        expected = conv.lin_aggr(torch.cat([X[dst], X[src]], dim=-1))
        expected = (expected + conv.lin_edge(EDGE_ATTR)).sigmoid()
        torch.testing.assert_close(aggregate_gate, expected)
        for node in range(6):
            mean = X[src[dst == node]].sum(0) / max(int((dst == node).sum()), 1)
            expected = conv.lin_filter(torch.cat([X[node], mean])).sigmoid()
            torch.testing.assert_close(filter_gate[node], expected)
    conv = layer(aggregate_gate=False, filter_gate=False)
    assert conv(X, EDGE_INDEX, return_gates=True)[1] == (None, None)


@pytest.mark.parametrize('fuse', [True, False])
def test_types_of_weights_and_autocast(fuse):
    for off in ({}, {'aggregate_gate': False}, {'filter_gate': False}):
        conv, x = layer(**off).float(), X.float().requires_grad_()
        conv.fuse &= fuse
        expected = conv(x, EDGE_INDEX)
        for dtype in (torch.double, torch.long, torch.bfloat16):
            out = conv(x, EDGE_INDEX, torch.ones(7, 1, dtype=dtype))
            torch.testing.assert_close(out, expected)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            out = conv(x, EDGE_INDEX)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05)
        out.float().sum().backward()
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(('block', 'kept'), [(2**18, 2**18), (13, 2**18), (13, 13)])
def test_all_derivatives(monkeypatch, block, kept):
    monkeypatch.setattr(gated_mean, 'BLOCK_NUMEL', {'cpu': block})
    monkeypatch.setattr(gated_mean, 'KEPT_NUMEL', {'cpu': kept})
    torch.manual_seed(0)
    conv = GatedConv(3, edge_dim=2).double()
    leaves = torch.randn(6, 3).double(), EDGE_WEIGHT.clone(), EDGE_ATTR.clone()
    leaves = [leaf.requires_grad_() for leaf in leaves]

    def forward(x, weight, attr, *parameters):
        named = dict(zip(dict(conv.named_parameters()), parameters, strict=True))
        args = x, EDGE_INDEX, weight, attr
        return torch.func.functional_call(conv, named, args)

    args = *leaves, *conv.parameters()
    both = {'check_forward_ad': True, 'check_batched_grad': True}
    assert torch.autograd.gradcheck(forward, args, **both)
    assert torch.autograd.gradgradcheck(forward, args)


@pytest.mark.parametrize('block', [2**18, 13])
def test_of_many_blocks_nothing_edge_sized_is_kept_for_backward(block, monkeypatch):
    monkeypatch.setattr(gated_mean, 'BLOCK_NUMEL', {'cpu': block})
    monkeypatch.setattr(gated_mean, 'KEPT_NUMEL', {'cpu': block})
    x, u, v = (torch.randn(n, 3).requires_grad_() for n in (7, 7, 5))
    src, dst, kept = torch.randint(7, (9000,)), torch.randint(5, (9000,)), []
    hooks = (lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor)
    with torch.autograd.graph.saved_tensors_hooks(*hooks):
        gated_mean.GatedMean.apply(src, dst, x, u, v, None, None, None)
    largest = max(tensor.numel() for tensor in kept if tensor.is_floating_point())
    assert (largest > x.numel()) == (block == 2**18)


def test_wrong_input_is_named():
    for kwargs, match in (
        ({'edge_index': EDGE_INDEX.double()}, r"'edge_index'.*float64"),
        ({'edge_index': EDGE_INDEX + 1}, r"'edge_index'.*6"),
        ({'edge_index': EDGE_INDEX - 1}, r"'edge_index'.*-1"),
        ({'x': X[:, 1:]}, r"'x'.* 8 .*7"),
        ({'x': (X, X[:, 1:])}, r"'x'.* 8 .*7"),
        ({'edge_weight': torch.rand(6)}, r"'edge_weight'.*\[6\]"),
        ({'edge_weight': torch.rand(7, 8)}, r"'edge_weight'.*\[7, 8\]"),
        ({'edge_dim': 2, 'edge_attr': EDGE_ATTR[1:]}, r"'edge_attr'.*\[6, 2\]"),
        ({'edge_dim': 2, 'edge_attr': EDGE_ATTR.t()}, r"'edge_attr'.*\[2, 7\]"),
        ({'edge_dim': 2}, r"'edge_attr'.*'edge_dim'"),
        ({'edge_attr': EDGE_ATTR}, r"'edge_attr'.*'edge_dim'"),
        ({'size': (6, 5)}, r'size 6 .*expected size 5'),
        ({'edge_index': EdgeIndex(EDGE_INDEX, sparse_size=(8, 6))}, 'size 8'),
        ({'edge_index': ADJ_T, 'x': (X, X[:5])}, r'size 5 .*expected size 6'),
        ({'edge_index': ADJ_T, 'flow': 'target_to_source'}, 'target_to_source'),
    ):
        call = {'x': X, 'edge_index': EDGE_INDEX} | kwargs
        options = {
            name: call.pop(name) for name in ('edge_dim', 'flow') if name in call
        }
        conv = layer(**options)
        for conv.fuse in (True, False):
            with pytest.raises((ValueError, IndexError), match=match):
                conv(**call)
