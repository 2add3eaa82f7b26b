import pytest
import torch

from agnn_pyg.nn import NodeEncoder
from tests.conftest import assert_redrawn

KIND = ('node', 'to', 'node')


def nodes(n_id, cold=(), device='cpu'):
    """Arguments for nodes out of six, the attributes of each a function of its id."""
    n_id = torch.as_tensor(n_id, device=device)
    x = torch.stack([1 + n_id % 3, 4 + n_id % 2], dim=1)
    mask = torch.zeros(len(n_id), dtype=torch.bool, device=device)
    mask[list(cold)] = True
    return x, mask, n_id


def encoder(**kwargs):
    """An encoder in evaluation mode, where no parameter is zero."""
    torch.manual_seed(0)
    encoder = NodeEncoder(6, 6, 4, [KIND], **kwargs).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_()
    return encoder


def embed(model, n_id, edge_index=None, cold=()):
    edges = {} if edge_index is None else {KIND: torch.tensor(edge_index)}
    encoded = model(*nodes(n_id, cold))
    return model.aggregate({'node': encoded}, 'node', edges)


def test_embedding_without_neighbors_follows_the_formula():
    model = encoder(skip=False)
    state = embed(model, [2])
    x = model.interaction(*model.attributes(torch.tensor([[3, 4]])))
    h = model.lin(torch.cat([model.embedding[2:3, :4], x], dim=1))
    gate = model.convs[KIND].lin_filter(torch.cat([h, torch.zeros(1, 4)], 1))
    expected = torch.nn.functional.leaky_relu((1 - gate.sigmoid()) * h, 0.01)
    assert torch.allclose(state.x, expected, atol=1e-6)
    assert torch.equal(state.bias, model.embedding[2:3, 4])


def test_skip_adds_a_map_of_the_summed_attributes():
    model = encoder()
    total = model.attributes.weight[[2, 5]].sum(0, keepdim=True)
    with_skip = embed(model, [1]).x
    skipped = total @ model.lin_skip.weight.t()
    model.lin_skip.weight.data.zero_()
    assert torch.allclose(with_skip, embed(model, [1]).x + skipped, atol=1e-5)


def test_a_cold_node_is_generated_from_its_attributes():
    model, edges = encoder(), [[1], [0]]
    target = embed(model, [3], cold=[0])
    neighbor = embed(model, [0, 3], edges, cold=[1])
    assert not torch.allclose(neighbor.x[0], embed(model, [0, 3], edges).x[0])
    generated = target.evae.reconstruction
    assert torch.allclose(target.bias, generated[:, 4])
    with torch.no_grad():
        model.embedding[3] = generated[0]
    assert torch.allclose(embed(model, [3]).x, target.x, atol=1e-6)
    assert torch.allclose(embed(model, [0, 3], edges).x, neighbor.x, atol=1e-6)


def test_without_generation_preference_and_bias_of_a_cold_node_are_zero():
    model = encoder(generate=False, generate_bias=False)
    state = embed(model, [0, 3], cold=[1])
    assert state.bias.tolist() == [model.embedding[0, 4].item(), 0]
    with torch.no_grad():
        model.embedding[3] = 0
    assert torch.equal(embed(model, [0, 3]).x, state.x)


def test_reset_parameters_redraws_all():
    model = encoder(separate_neighbors=True, embedding_std=100)
    assert_redrawn(model)
    assert model.embedding[:, 4].eq(0).all()
    assert 60 < model.embedding[:, :4].std() < 140


def test_nodes_without_a_row_are_cold():
    model, (x, cold, _) = encoder(), nodes([0, 1, 2])
    n_id = torch.tensor([0, 6, 100])
    state = model(x, cold, n_id)
    assert state.cold.tolist() == [False, True, True]
    expected = model(x, torch.tensor([False, True, True]), torch.tensor([0, 0, 0]))
    torch.testing.assert_close(state.source, expected.source)


@pytest.mark.parametrize('name', ['cold', 'n_id'])
def test_masks_and_ids_are_one_for_each_node(name):
    x, cold, n_id = nodes([0, 1, 2])
    given = {'cold': cold, 'n_id': n_id}
    with pytest.raises(ValueError, match=rf"'{name}'.*\[3\].*\[2\]"):
        encoder()(x, **given | {name: given[name][:2]})
