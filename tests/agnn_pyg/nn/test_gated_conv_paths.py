"""All ways through the layer give the same numbers, and bad input is named."""

import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks
from torch_geometric.utils import to_torch_csc_tensor

from agnn_pyg.nn import GatedConv, gated_mean

EDGE_INDEX = torch.tensor([[0, 1, 2, 3, 1, 0, 5], [0, 0, 1, 1, 3, 3, 4]])


def inputs(width=8, dtype=torch.double):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, width, generator=generator, dtype=dtype).requires_grad_()


def layer(**kwargs):
    torch.manual_seed(0)
    conv = GatedConv(8, **kwargs).double()
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.normal_()
    return conv


def run(conv, x, edge_index=EDGE_INDEX, **kwargs):
    out = conv(x, edge_index, **kwargs)
    grads = torch.autograd.grad(out.square().sum(), [x, *conv.parameters()])
    return [out, *grads]


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('flow', ['source_to_target', 'target_to_source'])
@pytest.mark.parametrize('filter_gate', [True, False])
def test_blocks_and_propagate_agree(monkeypatch, weighted, flow, filter_gate):
    weight = torch.rand(7).double() if weighted else None
    conv, x = layer(flow=flow, filter_gate=filter_gate), inputs()
    monkeypatch.setattr(gated_mean, 'BLOCK_NUMEL', {'cpu': 40, 'other': 40})
    in_blocks = run(conv, x, edge_weight=weight)
    monkeypatch.setattr(GatedConv, '_is_plain', lambda *_: False)
    propagated = run(conv, x, edge_weight=weight)
    torch.testing.assert_close(in_blocks, propagated, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('size', [(7,), (7, 1)])
def test_weights_may_be_a_column(monkeypatch, size):
    conv, x = layer(), inputs()
    weight = torch.rand(7).double().requires_grad_()
    expected = run(conv, x, edge_weight=weight)
    torch.testing.assert_close(run(conv, x, edge_weight=weight.view(size)), expected)
    conv(x, EDGE_INDEX, weight.view(size)).sum().backward()
    assert weight.grad.abs().sum() > 0
    monkeypatch.setattr(GatedConv, '_is_plain', lambda *_: False)
    torch.testing.assert_close(run(conv, x, edge_weight=weight.view(size)), expected)


@pytest.mark.parametrize('dtype', [torch.double, torch.long, torch.bfloat16])
@pytest.mark.parametrize('plain', [True, False])
def test_the_output_is_of_the_type_of_the_features(monkeypatch, dtype, plain):
    if not plain:
        monkeypatch.setattr(GatedConv, '_is_plain', lambda *_: False)
    conv, x = layer().float(), inputs(dtype=torch.float)
    out = conv(x, EDGE_INDEX, torch.ones(7, dtype=dtype))
    torch.testing.assert_close(out, conv(x, EDGE_INDEX))


@pytest.mark.parametrize('plain', [True, False])
@pytest.mark.parametrize('size', [(6,), (8,), (7, 8), (1,), (1, 1)])
def test_weights_are_one_an_edge(monkeypatch, size, plain):
    if not plain:
        monkeypatch.setattr(GatedConv, '_is_plain', lambda *_: False)
    with pytest.raises(ValueError, match=r'one weight an edge, \[7\] \(got \['):
        layer()(inputs(), EDGE_INDEX, torch.rand(size))


@pytest.mark.parametrize('plain', [True, False])
@pytest.mark.parametrize(
    ('edge_index', 'size'),
    [
        (EDGE_INDEX, (6, 5)),
        (EDGE_INDEX, (7, 6)),
        (EdgeIndex(EDGE_INDEX, sparse_size=(8, 6)), None),
    ],
)
def test_a_size_is_that_of_the_features(monkeypatch, edge_index, size, plain):
    if not plain:
        monkeypatch.setattr(GatedConv, '_is_plain', lambda *_: False)
    with pytest.raises(ValueError, match=r'with size 6 in .* expected size [578]'):
        layer()(inputs(), edge_index, size=size)


def test_float32_paths_agree_to_1e6():
    torch.manual_seed(0)
    conv, x = GatedConv(8), inputs(dtype=torch.float)
    dense = conv(x, EDGE_INDEX)
    adj_t = to_torch_csc_tensor(EDGE_INDEX, size=(6, 6)).t()
    torch.testing.assert_close(conv(x, adj_t), dense, rtol=0, atol=1e-6)
    edge_index = EdgeIndex(EDGE_INDEX, sparse_size=(6, 6)).sort_by('col').values
    torch.testing.assert_close(conv(x, edge_index), dense, rtol=0, atol=1e-6)


def test_a_subclass_that_changes_the_message_is_heard():
    class Doubled(GatedConv):
        def message(self, x_j, gate_i, gate_j, edge_weight):
            return 2 * super().message(x_j, gate_i, gate_j, edge_weight)

    x = inputs()
    plain, doubled = layer(), Doubled(8).double()
    doubled.load_state_dict(plain.state_dict())
    two = torch.full((7,), 2.0).double()
    torch.testing.assert_close(
        doubled(x, EDGE_INDEX), plain(x, EDGE_INDEX, edge_weight=two)
    )


def test_hooks_on_messages_are_called():
    conv, x, seen = layer(), inputs(), []
    handle = conv.register_message_forward_hook(lambda *args: seen.append(1))
    hooked = conv(x, EDGE_INDEX)
    assert seen
    handle.remove()
    torch.testing.assert_close(conv(x, EDGE_INDEX), hooked)
    assert len(seen) == 1


def test_the_layer_can_be_explained():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GatedConv(8)

        def forward(self, x, edge_index):
            return self.conv(x, edge_index)

    explainer = Explainer(
        Net(),
        algorithm=GNNExplainer(epochs=2),
        explanation_type='model',
        edge_mask_type='object',
        model_config={'mode': 'regression', 'task_level': 'node'},
    )
    explanation = explainer(inputs(dtype=torch.float).detach(), EDGE_INDEX)
    assert explanation.edge_mask.size() == (7,)


@pytest.mark.parametrize('flow', ['source_to_target', 'target_to_source'])
def test_an_explained_layer_gives_the_same_numbers(flow):
    conv, x = layer(flow=flow), inputs()
    expected = conv(x, EDGE_INDEX)
    set_masks(conv, torch.ones(7).double(), EDGE_INDEX, apply_sigmoid=False)
    torch.testing.assert_close(conv(x, EDGE_INDEX), expected)
    clear_masks(conv)
    torch.testing.assert_close(conv(x, EDGE_INDEX), expected)


def test_gates_are_returned_as_the_formula_has_them():
    conv, x = layer(), inputs()
    out, (aggregate_gate, filter_gate) = conv(x, EDGE_INDEX, return_gates=True)
    torch.testing.assert_close(out, conv(x, EDGE_INDEX))
    src, dst = EDGE_INDEX
    expected = conv.lin_aggr(torch.cat([x[dst], x[src]], dim=-1)).sigmoid()
    torch.testing.assert_close(aggregate_gate, expected)
    for node in range(6):
        mean = x[src[dst == node]].sum(0) / max(int((dst == node).sum()), 1)
        expected = conv.lin_filter(torch.cat([x[node], mean])).sigmoid()
        torch.testing.assert_close(filter_gate[node], expected)


def test_gates_that_are_off_are_none():
    conv = layer(aggregate_gate=False, filter_gate=False)
    _, gates = conv(inputs(), EDGE_INDEX, return_gates=True)
    assert gates == (None, None)


def test_gates_of_a_sparse_matrix_have_no_order_to_be_returned_in():
    adj_t = to_torch_csc_tensor(EDGE_INDEX, size=(6, 6)).t().to(torch.double)
    with pytest.raises(ValueError, match='rather than a sparse matrix'):
        layer()(inputs(), adj_t, return_gates=True)


def test_bfloat16_autocast():
    torch.manual_seed(0)
    conv, x = GatedConv(8), inputs(dtype=torch.float)
    expected = conv(x, EDGE_INDEX)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = conv(x, EDGE_INDEX)
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05)
    out.float().sum().backward()
    assert torch.isfinite(x.grad).all()


def test_second_derivatives():
    conv, x = layer(), inputs()
    assert torch.autograd.gradgradcheck(lambda x: conv(x, EDGE_INDEX), (x,))


def test_forward_mode_and_batched_derivatives():
    conv, x = layer(), inputs()
    weight = torch.rand(7).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, weight: conv(x, EDGE_INDEX, weight),
        (x, weight),
        check_forward_ad=True,
        check_batched_grad=True,
    )


def test_function_transforms():
    conv, weight = layer(), torch.rand(7).double()
    x = torch.stack([inputs().detach(), -inputs().detach()])

    def loss(parameters, x):
        args = x, EDGE_INDEX, weight
        return torch.func.functional_call(conv, parameters, args).square().sum()

    parameters = dict(conv.named_parameters())
    per_graph = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))
    found = per_graph(parameters, x)
    for graph in range(2):
        expected = torch.autograd.grad(loss(parameters, x[graph]), conv.parameters())
        for name, grad in zip(parameters, expected, strict=True):
            torch.testing.assert_close(found[name][graph], grad)
    out, tangent = torch.func.jvp(lambda x: conv(x, EDGE_INDEX), (x[0],), (x[1],))
    torch.testing.assert_close(out, conv(x[0], EDGE_INDEX))
    jacobian = torch.func.jacrev(lambda x: conv(x, EDGE_INDEX))(x[0])
    torch.testing.assert_close(tangent, (jacobian * x[1]).sum(dim=(-2, -1)))


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
def test_a_trace_holds_for_graphs_of_another_size(tmp_path):
    conv = layer()
    traced = torch.jit.trace(conv, (inputs().detach(), EDGE_INDEX))
    traced.save(tmp_path / 'traced.pt')
    traced = torch.jit.load(tmp_path / 'traced.pt')
    x = torch.randn(90, 8).double()
    edge_index = torch.randint(90, (2, 20_000))  # of more than one block
    torch.testing.assert_close(traced(x, edge_index), conv(x, edge_index))


@pytest.mark.parametrize(
    ('edge_index', 'error', 'match'),
    [
        (EDGE_INDEX.double(), ValueError, r"to hold integers \(got 'torch.float64'\)"),
        (EDGE_INDEX.t(), ValueError, r'size \[2, num_edges\] \(got \[7, 2\]\)'),
        (EDGE_INDEX + 1, IndexError, r'Found node 6 .* from 0 to 5'),
        (EDGE_INDEX - 1, IndexError, r'Found node -1 .* from 0 to 5'),
    ],
)
def test_bad_edges_are_named(edge_index, error, match):
    with pytest.raises(error, match=match):
        layer()(inputs(), edge_index)


@pytest.mark.parametrize('x', [inputs(7), (inputs(), inputs(7)), (inputs(), None)])
def test_bad_features_are_named(x):
    with pytest.raises(ValueError, match=r"width 'channels' \(8\) on both ends \(got"):
        layer()(x, EDGE_INDEX)
