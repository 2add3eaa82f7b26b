import pytest
import torch

from agnn_pyg.nn import NodeEncoder
from agnn_pyg.sampling.batch import NodeBatch

NOBODY = torch.empty(2, 0, dtype=torch.long)


def node_batch(n_id, num_targets, edge_index=NOBODY, cold=(), device='cpu'):
    """Nodes of a table of six, the attributes of each a function of its row."""
    n_id = torch.as_tensor(n_id)
    attr = torch.stack([1 + n_id % 3, 4 + n_id % 2], dim=1)
    mask = torch.zeros(len(n_id), dtype=torch.bool)
    mask[list(cold)] = True
    batch = NodeBatch(
        n_id,
        attr,
        torch.ones(attr.size()),
        mask,
        torch.as_tensor(edge_index),
        num_targets,
    )
    return batch.to(device)


def encoder(**kwargs):
    """An encoder in evaluation mode, where no parameter is zero."""
    torch.manual_seed(0)
    encoder = NodeEncoder(6, 6, 4, **kwargs).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_()
    return encoder


@pytest.mark.parametrize('generate_bias', [False, True])
def test_sizes(generate_bias, device):
    model = encoder(generate_bias=generate_bias).to(device)
    batch = node_batch([0, 3, 5], 2, [[2, 0], [0, 1]], cold=[1], device=device)
    state = model(batch)
    assert state.embedding.size() == (2, 4)
    assert state.bias.size() == (2,)
    assert state.learnt.size() == (3, 5)  # of all nodes, targets first
    assert state.generated.preference.size() == (2, 4 + generate_bias)
    assert state.generated.mu.size() == state.generated.logvar.size() == (2, 4)
    assert state.cold.tolist() == [False, True]


def test_embedding_of_a_node_alone_follows_the_formula():
    model = encoder(skip=False)
    state = model(node_batch([2], 1))
    x = model.interaction(*model.attributes(torch.tensor([[3, 4]]), torch.ones(1, 2)))
    h = model.lin(torch.cat([model.free[2:3, :4], x], dim=1))
    keep = 1 - model.conv.lin_filter(torch.cat([h, torch.zeros(1, 4)], 1)).sigmoid()
    expected = torch.nn.functional.leaky_relu(keep * h, 0.01)
    assert torch.allclose(state.embedding, expected, atol=1e-6)
    assert torch.equal(state.bias, model.free[2:3, 4])


def test_skip_adds_a_map_of_the_summed_attributes():
    model = encoder()
    batch = node_batch([1], 1)
    total = model.attributes.weight[[2, 5]].sum(0, keepdim=True)
    with_skip = model(batch).embedding
    model.lin_skip.weight.data.zero_()
    without = model(batch).embedding
    model.lin_skip.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    expected = without + total @ model.lin_skip.weight.t()
    assert torch.allclose(model(batch).embedding, expected, atol=1e-5)
    assert not torch.equal(with_skip, without)
    assert encoder(skip=False).lin_skip is None


def test_a_cold_node_is_what_its_attributes_generate():
    model = encoder()
    state = model(node_batch([3], 1, cold=[0]))
    generated = state.generated.preference
    with torch.no_grad():
        model.free[3] = generated[0]
    warm = model(node_batch([3], 1))
    assert torch.allclose(warm.embedding, state.embedding, atol=1e-6)
    assert torch.allclose(state.bias, generated[:, 4])


def test_a_cold_neighbor_is_generated_too():
    model = encoder()
    edges = [[1], [0]]
    cold = model(node_batch([0, 4], 1, edges, cold=[1])).embedding
    warm = model(node_batch([0, 4], 1, edges)).embedding
    assert not torch.allclose(cold, warm)
    generated = model(node_batch([4], 1, cold=[0])).generated.preference[0]
    with torch.no_grad():
        model.free[4] = generated
    filled = model(node_batch([0, 4], 1, edges)).embedding
    assert torch.allclose(filled, cold, atol=1e-6)


def test_nodes_of_equal_attributes_are_one_when_cold():
    model = encoder()
    n_id = torch.tensor([0, 5])
    attr = torch.tensor([[1, 4], [1, 4]])
    cold = torch.tensor([True, True])
    state = model(NodeBatch(n_id, attr, torch.ones(2, 2), cold, NOBODY, 2))
    assert torch.equal(state.embedding[0], state.embedding[1])
    assert state.bias[0] == state.bias[1]


@pytest.mark.parametrize('spoilt', [float('nan'), float('inf'), 1e30])
def test_the_free_row_of_a_cold_node_is_never_read(spoilt):
    model = encoder()
    batch = node_batch([0, 3, 1, 4], 2, [[2, 3, 3], [0, 0, 1]], cold=[1, 3])
    expected = model(batch)
    with torch.no_grad():
        model.free[[3, 4]] = spoilt
    state = model(batch)
    assert torch.equal(state.embedding, expected.embedding)
    assert torch.equal(state.bias, expected.bias)
    (state.embedding.sum() + state.bias.sum()).backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)
    assert model.free.grad[[3, 4]].eq(0).all()
    assert model.free.grad[[0, 1]].ne(0).all(1).any()


def test_without_a_generated_bias_that_of_a_cold_node_is_zero():
    model = encoder(generate_bias=False)
    state = model(node_batch([0, 3], 2, cold=[1]))
    assert state.bias.tolist() == [model.free[0, 4].item(), 0]


def test_separate_weights_for_neighbors():
    model = encoder(separate_neighbors=True)
    edges = [[1], [0]]
    before = model(node_batch([0, 4], 2, edges)).embedding
    with torch.no_grad():
        model.lin_neighbor.bias += 1
    after = model(node_batch([0, 4], 2, edges)).embedding
    # Only a node that has a neighbour sees it.
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert encoder().lin_neighbor is None


@pytest.mark.parametrize('gates', [(False, True), (True, False), (False, False)])
def test_options_reach_the_layer(gates):
    model = encoder(aggregate_gate=gates[0], filter_gate=gates[1], negative_slope=0.3)
    assert (model.conv.lin_aggr is not None, model.conv.lin_filter is not None) == gates
    assert model.conv.negative_slope == 0.3


def test_dropout_acts_in_training_only():
    model = encoder(dropout=0.5)
    batch = node_batch([0, 3, 1], 2, [[2], [0]])
    assert torch.equal(model(batch).embedding, model(batch).embedding)
    model.train()
    assert not torch.equal(model(batch).embedding, model(batch).embedding)


@pytest.mark.parametrize('separate', [False, True])
def test_reset_parameters_draws_all_anew(separate):
    model = encoder(separate_neighbors=separate)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    model.reset_parameters()
    for name, parameter in model.named_parameters():
        assert not parameter.eq(7).any(), name
    assert model.free[:, 4].eq(0).all()
