import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import GATConv, GCNConv, ResGatedGraphConv, SAGEConv

from agnn_pyg.graph.transform import AddAttributeKNN
from agnn_pyg.loss import agnn_loss
from agnn_pyg.model import AGNN
from agnn_pyg.module import RatingModule
from agnn_pyg.nn import GatedConv
from agnn_pyg.nn.rating_layer import RatingState
from agnn_pyg.prediction import predict
from agnn_pyg.sampling.full_graph import FullGraphLoader
from tests.conftest import assert_redrawn

SIDES, RATES = ('user', 'item'), ('user', 'rates', 'item')
KNN = [(side, 'attribute_knn', side) for side in SIDES]
# Attributes of each side and how many slots a node has of each.
SLOTS = {
    'user': {'gender': 1, 'age': 1, 'occupation': 1},
    'item': {'genre': 6, 'director': 3, 'writer': 3, 'star': 3, 'country': 8},
}
# Layers of one side in the golden file, by our names.
LAYERS = {'interaction.lin_pair': 'dense_{}_self_biinter'}
LAYERS |= {'interaction.lin_sum': 'dense_{}_self_siinter'}
LAYERS |= {'interaction_neighbor.lin_pair': 'dense_{}_onehop_biinter'}
LAYERS |= {'interaction_neighbor.lin_sum': 'dense_{}_onehop_siinter'}
LAYERS |= {'lin': 'dense_{}_cate_self', 'lin_neighbor': 'dense_{}_cate_hop1'}
LAYERS |= {'conv.lin_aggr': 'dense_{}_addgate', 'conv.lin_filter': 'dense_{}_erasegate'}
LAYERS |= {'evae.lin_in': '{}_vae.dense_xh', 'evae.lin_mu': '{}_vae.dense_hz_mu'}
LAYERS |= {'evae.lin_logvar': '{}_vae.dense_hz_var'}
LAYERS |= {'evae.lin_latent': '{}_vae.dense_zh', 'evae.lin_out': '{}_vae.dense_hx'}


def golden_state(parameters, slip):
    """The golden parameters under our names."""
    state = {'lin_out.weight': parameters['FC_pre.weight']}
    state |= {'lin_out.bias': parameters['FC_pre.bias'], 'bias': parameters['miu'][0]}
    for side in SIDES:
        own = f'encoders.{side}'
        rows = parameters[f'{side}_embed.weight'], parameters[f'{side}_bias.weight']
        state[f'{own}.embedding'] = torch.cat(rows, dim=1)
        tables = [parameters[f'{name}_embed.weight'] for name in SLOTS[side]]
        padding = torch.zeros(1, 6, dtype=torch.double)
        state[f'{own}.attributes.weight'] = torch.cat([padding, *tables])
        for ours, theirs in LAYERS.items():
            if slip and side == 'user' and ours == 'interaction.lin_sum':
                theirs = LAYERS['interaction_neighbor.lin_sum']
            ours = ours.replace('conv', f'convs.<{side}___attribute_knn___{side}>')
            for part in ('weight', 'bias'):
                value = parameters[f'{theirs.format(side)}.{part}']
                if part == 'weight' and ours in ('lin', 'lin_neighbor'):
                    # Attributes come first there, the preference first here.
                    value = value.roll(6, dims=1)
                state[f'{own}.{ours}.{part}'] = value
    return state


def golden_inputs(inputs, parameters, mode):
    """The whole graph: attributes of all nodes, four neighbors of those of pairs."""
    x, edges, cold = {}, {}, {}
    for side, kind in zip(SIDES, KNN, strict=True):
        table = inputs[f'{side}_attributes_table'].long()
        offset, first = [], 1
        for name, slots in SLOTS[side].items():
            offset += [first] * slots
            first += len(parameters[f'{name}_embed.weight'])
        x[side] = table + torch.tensor(offset)
        node, first = inputs[side].long().unique(return_inverse=True)
        neighbor = inputs[f'{side}_neighbours'].long()
        row = torch.stack([(first == k).nonzero()[0, 0] for k in range(len(node))])
        edges[kind] = torch.stack(
            [neighbor[row].flatten(), node.repeat_interleave(neighbor.size(1))]
        )
        cold[side] = torch.zeros(len(table), dtype=torch.bool)
        cold[side][node] = mode == {'user': 'ucs', 'item': 'ics'}[side]
    return x, edges, torch.stack([inputs[side].long() for side in SIDES]), cold


@pytest.mark.parametrize('mode', ['train', 'ics', 'ucs'])
@pytest.mark.parametrize('slip', [False, True])
def test_golden_numbers_of_the_published_network(golden, mode, slip):
    numbers = golden('agnn_forward')
    inputs, parameters = numbers['inputs'], numbers['parameters']
    expected = numbers['outputs']['as_coded' if slip else 'slip_corrected'][mode]
    tokens = {
        side: 1 + sum(len(parameters[f'{name}_embed.weight']) for name in names)
        for side, names in SLOTS.items()
    }
    options = {'separate_neighbors': True, 'generate_neighbors': False}
    options |= {'generate_bias': False, 'skip': False}
    options |= {'share_sum_layer': ('user',) if slip else ()}
    model = AGNN({'user': 8, 'item': 9}, tokens, KNN, channels=6, **options)
    model = model.double().eval()
    model.load_state_dict(golden_state(parameters, slip))
    x, edges, pairs, cold = golden_inputs(inputs, parameters, mode)
    states = model.encode(x, edges, cold)
    predicted = model(x, edges, pairs, cold)
    for side, index in zip(SIDES, pairs, strict=True):
        if cold[side].any():
            # A cold node's bias is 0 here; the golden run reads the table.
            predicted = predicted + parameters[f'{side}_bias.weight'][index, 0]
        state, steps = states[side], expected['steps']
        for name, actual in (
            ('final_{}', state.x),
            ('{}_mu', state.evae.mu),
            ('{}_logvar', state.evae.logvar),
            ('{}_reconstruction', state.evae.reconstruction),
        ):
            torch.testing.assert_close(
                actual[index], steps[name.format(side)], rtol=1e-9, atol=1e-9
            )
    torch.testing.assert_close(predicted, expected['predictions'], rtol=1e-9, atol=1e-9)
    label = torch.ones(5, dtype=torch.double)
    states = [states[side] for side in SIDES]
    terms = agnn_loss(label, predicted, states, published=pairs)
    for name, theirs in (('kl', 'kl_loss'), ('reconstruction', 'recon_loss')):
        torch.testing.assert_close(terms[name], expected[theirs], rtol=1e-9, atol=1e-9)


# Warm, user-cold, item-cold and both-cold.
MIXED = torch.tensor([[0, 10, 1, 11, 10], [0, 1, 13, 14, 0]])


def whole(graph, index=MIXED, num_neighbors=3, seed=0):
    """Pairs to predict on the whole graph, whose ratings carry messages."""
    loader = FullGraphLoader(graph, RATES, num_neighbors=num_neighbors)
    return loader.whole(index, seed)


both = pytest.mark.parametrize('rated', [None, RATES])


@both
@torch.no_grad()
def test_a_rating_follows_the_formula(tiny_model, tiny_graph, device, rated):
    model, batch = tiny_model(rated=rated).to(device), whole(tiny_graph).to(device)
    states = model.encode(*batch[:2], *batch[3:-1])
    user, item = states['user'], states['item']
    predicted, (weight, bias) = model(*batch[:-1]), model.lin_out.parameters()
    assert predicted.device.type == device.type
    for k, (row, col) in enumerate(MIXED.t().tolist()):
        p, q = user.x[row], item.x[col]
        rating = weight[0] @ torch.cat([p, q]) + bias[0]
        rating = rating + user.bias[row] + item.bias[col] + model.bias
        if rated is None:
            rating = rating + p @ q
        else:
            rating = rating + (p * model.dot_weight * q).sum()
            u, i = (
                RatingState(*(part[row] for part in state.rating))
                for state, row in ((user, row), (item, col))
            )
            rating = rating + u.bias + i.bias + u.slope @ i.feature
            rating = rating + i.slope @ u.feature
        torch.testing.assert_close(predicted[k], rating, atol=1e-5, rtol=0)
    # All pairs are one matrix product.
    rows = [torch.arange(n, device=device) for n in (12, 15)]
    left, right = (
        model.factors(state, end, row)
        for end, (state, row) in enumerate(zip((user, item), rows, strict=True))
    )
    every = model.decode(states, torch.cartesian_prod(*rows).t()).view(12, 15)
    torch.testing.assert_close(left @ right.t(), every, atol=1e-5, rtol=0)
    terms = model.terms(states, batch.edge_label_index)
    torch.testing.assert_close(sum(terms.values()), predicted)


@torch.no_grad()
def test_rated_edges_update_what_attributes_and_neighbors_give(tiny_model, tiny_graph):
    model, batch = tiny_model(rated=RATES), whole(tiny_graph)
    states = model.encode(*batch[:2], *batch[3:-1])
    x, edges = batch.x_dict, batch.edge_index_dict
    given = {s: e(x[s], batch.cold_dict[s]) for s, e in model.encoders.items()}
    given = [model.encoders[s].aggregate(given, s, edges) for s in SIDES]
    expected = model.rating_layer(
        [state.x for state in given],
        [model.encoders[s].attributes(x[s])[0] for s in SIDES],
        tiny_graph[RATES].edge_index,
        tiny_graph[RATES].rating - 3.5,
    )
    for side, rating in zip(SIDES, expected, strict=True):
        assert torch.equal(states[side].x, rating.x)
        for one, other in zip(states[side].rating, rating, strict=True):
            assert torch.equal(one, other)


@both
@torch.no_grad()
def test_a_prediction_does_not_depend_on_its_batch(
    tiny_model, tiny_graph, tiny_pairs, rated
):
    model, index = tiny_model(rated=rated), torch.cat([tiny_pairs[0], MIXED], dim=1)
    order = torch.randperm(index.size(1), generator=torch.Generator().manual_seed(0))
    expected, mixed, first = (
        model(*whole(tiny_graph, part)[:-1])
        for part in (index, index[:, order], index[:, :1])
    )
    assert torch.allclose(expected[order], mixed, atol=1e-6)
    assert torch.allclose(expected[:1], first, atol=1e-6)
    assert len(expected.unique()) > len(order) // 2


def test_the_sizes_of_a_graph(tiny_graph, tiny_attributes):
    for edges in (True, False):
        options = {'rated_edges': edges, 'messages': not edges, 'channels': 4}
        model = AGNN.from_data(tiny_graph, RATES, **options)
        assert (model.rated, model.ends) == (RATES if edges else None, SIDES)
        name = 'attribute_knn' if edges else 'rating_knn'
        for side, bags in tiny_attributes.items():
            encoder = model.encoders[side]
            assert encoder.edge_types == [(side, name, side)]
            assert len(encoder.embedding) == bags.num_nodes
            assert len(encoder.attributes.weight) == bags.index.max() + 1
        assert not edges or model.rating_layer.messages is False
        assert (model.rating_layer is not None) == edges
    torch.manual_seed(0)
    model = AGNN.from_data(tiny_graph, RATES, spectral_channels=3)
    assert model.mean == pytest.approx(float(tiny_graph[RATES].rating.mean()))
    with pytest.raises(ValueError, match=r"must have edges.*'bought'.*'rates'"):
        AGNN.from_data(tiny_graph, (RATES[0], 'bought', RATES[2]))
    assert all(v.ne(0).any(0).all() for v in model.rating_layer.vectors)
    (batch,) = FullGraphLoader(tiny_graph, RATES, steps=1)
    damped = model.terms(model.encode(*batch[:2], *batch[3:-1]), batch.edge_label_index)
    assert damped['linear'].eq(0).all()  # Training starts from damped biases.


def test_every_parameter_gets_a_gradient(tiny_model, tiny_graph):
    published = {'separate_neighbors': True, 'generate_neighbors': False}
    bare = {'rated': RATES, 'messages': False, 'spectral_channels': 0}
    for options in ({}, published, {'skip': False}, {'rated': RATES}, bare):
        model, rates = tiny_model(**options).train(), dict.fromkeys(SIDES, 0.3)
        options = {'steps': 1, 'cold_dropout': rates, 'id_dropout': 0.2}
        (batch,) = FullGraphLoader(tiny_graph, RATES, **options)
        x, edges, pairs, *rest, label = batch
        states = model.encode(x, edges, *rest)
        predicted = model.decode(states, pairs)
        agnn_loss(label, predicted, states.values())['loss'].backward()
        for name, parameter in model.named_parameters():
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


def test_training_differs_from_evaluation_by_noise_alone(tiny_model, tiny_graph):
    model, batch = tiny_model(rated=RATES), whole(tiny_graph)
    for encoder in model.encoders.values():
        # No variance: z is its mean.
        torch.nn.init.zeros_(encoder.evae.lin_logvar.weight)
        torch.nn.init.constant_(encoder.evae.lin_logvar.bias, -200)
    assert torch.equal(model(*batch[:-1]), model.train()(*batch[:-1]))


def own_model(data, edge_types, **options):
    torch.manual_seed(0)
    sizes = {name: data[name].num_nodes for name in data.node_types}
    return AGNN(sizes, data.num_node_features, edge_types, 4, **options).eval()


def own_graph():
    """Three node types, dense features, rated edges in both directions."""
    generator = torch.Generator().manual_seed(0)
    data = HeteroData()
    for name, size in (('user', 7), ('item', 9), ('shop', 3)):
        data[name].x = torch.randn(size, 2 + len(name), generator=generator)
    for source, target in (('user', 'item'), ('item', 'user'), ('shop', 'item')):
        sizes = data[source].num_nodes, data[target].num_nodes
        ends = [torch.randint(n, (20,), generator=generator) for n in sizes]
        data[source, 'to', target].edge_index = torch.stack(ends)
    loop = torch.randint(9, (2, 20), generator=generator)
    data['item', 'attribute_knn', 'item'].edge_index = loop
    return data


def test_any_convolution_on_a_graph_of_ones_own():
    for conv, kinds in (
        (GatedConv, 4),
        (lambda c: SAGEConv(c, c), 4),
        (lambda c: GATConv(c, c, add_self_loops=False), 4),
        (lambda c: ResGatedGraphConv(c, c), 4),
        (lambda c: GCNConv(c, c), 1),
    ):
        data, pairs = own_graph(), torch.tensor([[0, 3], [8, 1]])
        edge_types = data.edge_types[-kinds:]
        model = own_model(data, edge_types, ends=SIDES, conv=conv)
        predicted = model(data.x_dict, data.edge_index_dict, pairs)
        assert predicted.size() == (2,)
        predicted.sum().backward()
        for kind in edge_types:
            conv = model.encoders[kind[-1]].convs[kind]
            assert any(p.grad.abs().sum() > 0 for p in conv.parameters()), kind


def test_explainers_of_pyg_mask_features_and_not_rated_edges():
    data, kind = own_graph(), ('user', 'to', 'item')
    model = own_model(data, data.edge_types[1:], ends=SIDES, rated=kind)
    config = {'mode': 'regression', 'task_level': 'edge', 'return_type': 'raw'}
    given = {'rating_dict': {kind: torch.arange(20.0)}}
    given['edge_label_index'] = torch.tensor([[0], [8]])

    def explain(edge_mask):
        options = 'model', config, 'attributes', edge_mask
        explainer = Explainer(model, GNNExplainer(3), *options)
        return explainer(data.x_dict, data.edge_index_dict, **given)

    assert explain(None)['user'].node_mask[0].gt(0).any()
    with pytest.raises(ValueError, match=r"edge masks of type.*'user', 'to'"):
        explain('object')


def test_all_that_is_trained_has_a_gradient():
    """Or several processes would wait for it. No rating reads what shops receive."""
    data, cold = own_graph(), {'shop': torch.ones(3, dtype=torch.bool)}
    index = data['shop', 'to', 'item'].edge_index
    data['item', 'to', 'shop'].edge_index = index.flip(0)
    model = own_model(data, data.edge_types, ends=SIDES).train()
    states = model.encode(data.x_dict, data.edge_index_dict, cold)
    ends = [states[side] for side in SIDES]
    predicted = model.decode(states, torch.ones(2, 1).long())
    agnn_loss(torch.ones(1), predicted, ends)['loss'].backward()
    trained = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert [name for name, grad in trained.items() if grad is None] == []
    assert 'encoders.shop.embedding' in trained


@both
def test_reset_parameters_redraws_all(tiny_model, rated):
    model = tiny_model(rated=rated)
    assert_redrawn(model)
    assert model.bias.item() == 3.5


def test_bad_arguments():
    for options, match in (
        ({'num_nodes': {'user': 0, 'item': 2}}, r"num_nodes\['user'\]"),
        ({'channels': 0}, "'channels'"),
        ({'in_channels': {'user': 2}}, "'in_channels'.*'item'"),
        ({'ends': ('user', 'film')}, "'film'"),
        ({'edge_types': [('shop', 'to', 'item')]}, "'shop'"),
        ({'rated': ('user', 'follows', 'user')}, "'rated'.*'follows'"),
    ):
        sizes = {'user': 2, 'item': 2}
        options = {'num_nodes': sizes, 'in_channels': sizes, 'edge_types': []} | options
        with pytest.raises(ValueError, match=match):
            AGNN(**options)


def test_features_and_ids_that_are_missing_are_named(tiny_model, tiny_graph):
    model = tiny_model()
    x = whole(tiny_graph).x_dict
    with pytest.raises(ValueError, match=r"'x_dict'.*'item'"):
        model({'user': x['user']}, {}, MIXED)
    with pytest.raises(ValueError, match=r"x_dict\['item'\].*to_dense"):
        model(x | {'item': torch.eye(9).to_sparse()}, {}, MIXED)
    for wrong in ({'film': torch.ones(9)}, {'film': torch.arange(9)}):
        name = 'n_id_dict' if wrong['film'].dtype == torch.long else 'cold_dict'
        with pytest.raises(ValueError, match=rf"'{name}'.*'film'"):
            model(x, {}, MIXED, **{name: wrong})
    fewer = {side: tuple(part[:9] for part in x[side]) for side in SIDES}
    with pytest.raises(ValueError, match="'n_id_dict'"):
        model(fewer, {}, MIXED)
    for pairs in (MIXED.t(), MIXED + 99, MIXED - 99, MIXED.float()):
        with pytest.raises(ValueError, match="'edge_label_index'"):
            model(x, {}, pairs)
    model, edges = tiny_model(rated=RATES), {RATES: MIXED}
    for given in (({}, {RATES: torch.ones(5)}), (edges, None), (edges, {})):
        with pytest.raises(ValueError, match=r"'rating_dict'.*'rates'"):
            model(x, given[0], MIXED, rating_dict=given[1])


def test_features_of_a_graph_that_do_not_fit_are_named():
    for x, match in (
        (torch.tensor([[1], [-1]]), "'item.x'.*-1"),
        (torch.eye(7).long(), "'item.x'.*float"),
        (torch.eye(7).to_sparse(), r"'item.x'.*to_dense"),
        (torch.eye(7).numpy(), r"'item.x'.*ndarray"),
        (torch.rand(7), r"'item.x'.*\[7\]"),
        (None, "'x'.*'item'"),
    ):
        data = own_graph()
        del data['item'].x
        data['item'].num_nodes = 7
        if x is not None:
            data['item'].x = x
        with pytest.raises(ValueError, match=match):
            AGNN.from_data(data, data.edge_types[0], edge_types=data.edge_types)
    model = AGNN({'user': 2, 'item': 2}, {'user': 2, 'item': 2}, [])
    plain, rated = Data(x=torch.rand(3, 2)), data.edge_types[0]
    for call in (
        lambda: AGNN.from_data(plain, rated),
        lambda: AddAttributeKNN()(plain),
        lambda: FullGraphLoader(plain, rated),
        lambda: predict(None, data),
        lambda: RatingModule(model).before_fit(data, None),
    ):
        with pytest.raises(ValueError, match=r"'(data|loader|train)' must be .*Data\)"):
            call()
    data['item'].x = 300 * torch.rand(9, 2)
    with pytest.warns(UserWarning, match="'item.x' has values .* scale"):
        AGNN.from_data(data, data.edge_types[0], edge_types=data.edge_types)


def test_positions_of_positives_depend_on_both_ends_alone():
    sizes = {'user': 64, 'item': 80, 'genre': 3}
    model = AGNN(sizes, sizes, [], 4, rated=RATES, positives=True)
    assert model.rating_layer.spectral_channels == 4
