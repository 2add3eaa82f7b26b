import copy

import pytest
import torch

from agnn_pyg import AttributeEncoder, RatingPropagation, attribute_relations
from agnn_pyg.loss import agnn_loss
from agnn_pyg.model import AGNN
from agnn_pyg.sampling.batch import NodeBatch, RatingBatch
from agnn_pyg.sampling.loader import RatingLoader

SIDES = ('user', 'item')
# The attribute tables of each side and how many slots a node has of each.
SLOTS = {
    'user': {'gender': 1, 'age': 1, 'occupation': 1},
    'item': {'genre': 6, 'director': 3, 'writer': 3, 'star': 3, 'country': 8},
}
# Our names for the layers of one side, the golden file's, and the parts.
LAYERS = {
    'interaction.lin_pair': 'dense_{}_self_biinter',
    'interaction.lin_sum': 'dense_{}_self_siinter',
    'interaction_neighbor.lin_pair': 'dense_{}_onehop_biinter',
    'interaction_neighbor.lin_sum': 'dense_{}_onehop_siinter',
    'lin': 'dense_{}_cate_self',
    'lin_neighbor': 'dense_{}_cate_hop1',
    'conv.lin_aggr': 'dense_{}_addgate',
    'conv.lin_filter': 'dense_{}_erasegate',
    'evae.lin_in': '{}_vae.dense_xh',
    'evae.lin_mu': '{}_vae.dense_hz_mu',
    'evae.lin_logvar': '{}_vae.dense_hz_var',
    'evae.lin_latent': '{}_vae.dense_zh',
    'evae.lin_out': '{}_vae.dense_hx',
}


def golden_state(parameters):
    """The golden parameters under our names."""
    state = {
        'lin_out.weight': parameters['FC_pre.weight'],
        'lin_out.bias': parameters['FC_pre.bias'],
        'bias': parameters['miu'][0],
    }
    for side in SIDES:
        free = parameters[f'{side}_embed.weight'], parameters[f'{side}_bias.weight']
        state[f'{side}.free'] = torch.cat(free, dim=1)
        tables = [parameters[f'{name}_embed.weight'] for name in SLOTS[side]]
        padding = torch.zeros(1, 6, dtype=torch.double)
        state[f'{side}.attributes.weight'] = torch.cat([padding, *tables])
        for ours, theirs in LAYERS.items():
            weight, bias = (
                parameters[f'{theirs.format(side)}.{part}']
                for part in ('weight', 'bias')
            )
            if ours in ('lin', 'lin_neighbor'):
                # TokenBags come first there, the preference first here.
                weight = weight.roll(6, dims=1)
            state[f'{side}.{ours}.weight'] = weight
            state[f'{side}.{ours}.bias'] = bias
    return state


def golden_nodes(inputs, parameters, side, cold):
    """Five targets, then the four neighbours of each as nodes of their own."""
    n_id = torch.cat([inputs[side], inputs[f'{side}_neighbours'].flatten()]).long()
    own = inputs[f'{side}_attributes']
    others = inputs[f'{side}_neighbour_attributes'].flatten(0, 1)
    offset, first = [], 1
    for name, slots in SLOTS[side].items():
        offset += [first] * slots
        first += len(parameters[f'{name}_embed.weight'])
    attr = torch.cat([own, others]).long() + torch.tensor(offset)
    mask = torch.zeros(25, dtype=torch.bool)
    mask[:5] = cold
    source = torch.arange(5, 25)
    edge_index = torch.stack([source, (source - 5) // 4])
    return NodeBatch(n_id, attr, torch.ones(attr.size()), mask, edge_index, 5)


@pytest.mark.parametrize('mode', ['warm', 'ics', 'ucs'])
def test_golden_numbers(golden, mode):
    numbers = golden('agnn_forward')
    inputs, parameters = numbers['inputs'], numbers['parameters']
    expected = numbers['outputs']['slip_corrected'][mode]
    tokens = [
        1 + sum(len(parameters[f'{name}_embed.weight']) for name in SLOTS[side])
        for side in SIDES
    ]
    model = AGNN(
        8,
        9,
        *tokens,
        channels=6,
        hidden_channels=0,
        separate_neighbors=True,
        skip=False,
        generate_bias=False,
    )
    model = model.double().eval()
    model.load_state_dict(golden_state(parameters))
    cold = {'user': mode == 'ucs', 'item': mode == 'ics'}
    nodes = [golden_nodes(inputs, parameters, side, cold[side]) for side in SIDES]
    batch = RatingBatch(*nodes, torch.arange(5).expand(2, 5), None)

    user, item = model.encode(batch)
    predicted = model(batch)
    for side in SIDES:
        if cold[side]:
            # A cold node's bias is 0 here; the golden run reads the table.
            bias = parameters[f'{side}_bias.weight'][inputs[side].long(), 0]
            predicted = predicted + bias
    for name, actual in (
        ('final_user', user.embedding),
        ('final_item', item.embedding),
        ('user_mu', user.generated.mu),
        ('item_mu', item.generated.mu),
        ('user_logvar', user.generated.logvar),
        ('item_logvar', item.generated.logvar),
        ('user_reconstruction', user.generated.preference),
        ('item_reconstruction', item.generated.preference),
    ):
        assert torch.allclose(actual, expected['steps'][name], rtol=1e-9, atol=1e-9)
    assert torch.allclose(predicted, expected['predictions'], rtol=1e-9, atol=1e-9)


@pytest.fixture
def model(tiny_attributes):
    torch.manual_seed(0)
    tokens = [tiny_attributes[side].num_tokens for side in SIDES]
    model = AGNN(12, 15, *tokens, channels=4, hidden_channels=5, mean=3.5).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.size())
    return model


# Warm, user-cold, item-cold and both-cold.
MIXED = torch.tensor([[0, 10, 1, 11, 10], [0, 1, 13, 14, 0]])


def test_a_prediction_per_pair(model, tiny_graph, device):
    model = model.to(device)
    (batch,) = RatingLoader(tiny_graph, MIXED)
    predicted = model(batch.to(device))
    assert predicted.size() == (5,)
    assert predicted.device.type == device.type
    assert torch.isfinite(predicted).all()


def test_a_rating_follows_the_formula(model, tiny_graph):
    (batch,) = RatingLoader(tiny_graph, MIXED)
    user, item = model.encode(batch)
    predicted = model(batch)
    for k, (row, col) in enumerate(batch.edge_label_index.t().tolist()):
        p, q = user.embedding[row], item.embedding[col]
        rating = model.lin_out(model.lin_hidden(torch.cat([p, q])).relu())[0]
        rating = rating + p @ q + user.bias[row] + item.bias[col] + model.bias
        assert torch.allclose(predicted[k], rating, atol=1e-5)


def test_a_prediction_does_not_depend_on_its_batch(model, tiny_graph, tiny_pairs):
    index = torch.cat([tiny_pairs[0], MIXED], dim=1)
    with torch.no_grad():
        whole, parts, single = (
            torch.cat([model(b) for b in RatingLoader(tiny_graph, index, batch_size=n)])
            for n in (10_000, 7, 1)
        )
    assert torch.allclose(whole, parts, atol=1e-6)
    assert torch.allclose(whole, single, atol=1e-6)


def test_every_kind_of_coldness_may_share_a_batch(model, tiny_graph):
    (batch,) = RatingLoader(tiny_graph, MIXED)
    together = model(batch)
    for k, pair in enumerate(MIXED.t()):
        (alone,) = RatingLoader(tiny_graph, pair[:, None])
        assert torch.allclose(model(alone)[0], together[k], atol=1e-6)


def test_predictions_keep_the_order_of_the_pairs(model, tiny_graph, tiny_pairs):
    index = tiny_pairs[0]
    order = torch.randperm(index.size(1), generator=torch.Generator().manual_seed(0))
    (one,), (other,) = (
        RatingLoader(tiny_graph, index),
        RatingLoader(tiny_graph, index[:, order]),
    )
    assert torch.allclose(model(one)[order], model(other), atol=1e-6)
    assert len(model(one).unique()) > len(order) // 2


def test_free_rows_of_cold_nodes_are_never_read(model, tiny_graph, tiny_pairs):
    index = torch.cat([tiny_pairs[0], MIXED], dim=1)
    (batch,) = RatingLoader(tiny_graph, index)
    expected = model(batch)
    spoilt = copy.deepcopy(model)
    with torch.no_grad():
        for side in SIDES:
            getattr(spoilt, side).free[tiny_graph[side].cold] = torch.nan
    predicted = spoilt(batch)
    assert torch.equal(predicted, expected)
    predicted.square().mean().backward()
    for name, parameter in spoilt.named_parameters():
        if 'lin_logvar' not in name:  # is for the noise of training
            assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    'kwargs', [{}, {'separate_neighbors': True}, {'hidden_channels': 0}]
)
def test_every_parameter_gets_a_gradient(
    tiny_graph, tiny_pairs, tiny_attributes, kwargs
):
    torch.manual_seed(0)
    tokens = [tiny_attributes[side].num_tokens for side in SIDES]
    model = AGNN(12, 15, *tokens, channels=4, mean=3.5, **kwargs).train()
    (batch,) = RatingLoader(tiny_graph, *tiny_pairs, cold_rate=(0.3, 0.3))
    user, item = model.encode(batch)
    predicted = model.decode(user, item, batch.edge_label_index)
    agnn_loss(batch.edge_label, predicted, user, item)['loss'].backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_few_steps_lower_the_loss(model, tiny_graph, tiny_pairs, device):
    model = model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    (batch,) = RatingLoader(tiny_graph, *tiny_pairs)
    batch, losses = batch.to(device), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(batch), batch.edge_label)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_without_neighbors_and_without_hidden_layer(tiny_graph, tiny_attributes):
    tokens = [tiny_attributes[side].num_tokens for side in SIDES]
    model = AGNN(12, 15, *tokens, channels=4, hidden_channels=0)
    assert model.lin_hidden is None
    (batch,) = RatingLoader(tiny_graph, MIXED, num_neighbors=0)
    assert torch.isfinite(model(batch)).all()


def test_state_dict_round_trip(model, tiny_graph, tiny_attributes):
    tokens = [tiny_attributes[side].num_tokens for side in SIDES]
    other = AGNN(12, 15, *tokens, channels=4, hidden_channels=5).eval()
    (batch,) = RatingLoader(tiny_graph, MIXED)
    assert not torch.equal(model(batch), other(batch))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(batch), other(batch))


def test_reset_parameters_draws_all_anew(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    model.reset_parameters()
    for name, parameter in model.named_parameters():
        assert not parameter.eq(7).any(), name
    assert model.bias.item() == 3.5


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        ({'num_users': 0}, r"'num_users' must be at least 1 \(got 0\)"),
        ({'num_items': -1}, r"'num_items' must be at least 1 \(got -1\)"),
        ({'channels': 0}, r"'channels' must be at least 1 \(got 0\)"),
        ({'hidden_channels': -1}, r"'hidden_channels' must be at least 0 \(got -1\)"),
    ],
)
def test_bad_sizes(kwargs, match):
    sizes = {'num_users': 2, 'num_items': 2, 'channels': 2}
    with pytest.raises(ValueError, match=match):
        AGNN(**(sizes | kwargs), num_user_tokens=2, num_item_tokens=2)


def message_model(graph, sides, share):
    """A model that mixes in messages, fitted to nothing but noise."""
    messages = RatingPropagation(*sides, shared=0)
    for state in (messages.user_state, messages.item_state):
        state.copy_(torch.randn(state.size()))
    tokens = [int(graph[side].attr.max()) + 1 for side in SIDES]
    torch.manual_seed(0)
    return AGNN(12, 15, *tokens, 4, messages=messages, message_share=share)


@pytest.fixture
def sides(tiny_frames):
    encoders = [AttributeEncoder(list(f.columns)) for f in tiny_frames.values()]
    return [
        attribute_relations(encoder, encoder.fit_transform(frame))
        for encoder, frame in zip(encoders, tiny_frames.values(), strict=True)
    ]


def test_messages_are_mixed_in_by_their_share(tiny_graph, tiny_pairs, sides):
    (batch,) = RatingLoader(tiny_graph, *tiny_pairs)
    model = message_model(tiny_graph, sides, 0.25).eval()
    network = model.decode(*model.encode(batch), batch.edge_label_index)
    message = model.messages(*tiny_pairs[0])
    torch.testing.assert_close(model(batch), 0.75 * network + 0.25 * message)


def test_training_never_reads_messages(tiny_graph, tiny_pairs, sides):
    # They are made of the very ratings that are trained on.
    (batch,) = RatingLoader(tiny_graph, *tiny_pairs)
    model = message_model(tiny_graph, sides, 0.25)
    model.messages.mean.fill_(torch.inf)
    assert torch.isfinite(model(batch)).all()
    assert not torch.isfinite(model.eval()(batch)).any()


def test_a_share_needs_messages():
    with pytest.raises(ValueError, match=r"'message_share' of 0.5 needs 'messages'"):
        AGNN(2, 2, 2, 2, message_share=0.5)
    with pytest.raises(ValueError, match=r'share in \[0, 1\] \(got 1.5\)'):
        AGNN(2, 2, 2, 2, message_share=1.5)
