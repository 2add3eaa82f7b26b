"""Training of AGNN; the driver itself is tested in base/test_training.py."""

import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader

pytest.importorskip('pytorch_lightning')

from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.base.training import fit
from agnn_pyg.graph.transform import AddAttributeKNN
from agnn_pyg.model import AGNN
from agnn_pyg.module import RatingModule
from agnn_pyg.sampling.cold_dropout import ColdDropout
from agnn_pyg.sampling.loader import RatingLoader
from agnn_pyg.sampling.sampler import ProximitySampler
from agnn_pyg.scoring import predict
from data.synthetic import planted_tables

SIDES, RATES = ('user', 'item'), ('user', 'rates', 'item')
KINDS = [(side, 'rating_knn', side) for side in SIDES]
SIZES = {'batch_size': 90, 'num_neighbors': 3}
TRAIN, HELD_OUT = slice(0, 360), slice(360, None)


@pytest.fixture(scope='module')
def planted():
    """A graph whose ratings follow from attributes, and held-out pairs."""
    tables = planted_tables(30, 40, density=0.4)
    index = torch.stack([torch.from_numpy(part) for part in tables.positions()])
    rating = torch.tensor(tables.ratings['rating'].to_numpy(), dtype=torch.float)
    data = HeteroData()
    for side, frame in zip(SIDES, (tables.users, tables.items), strict=True):
        bags = AttributeEncoder(list(frame.columns[1:])).fit_transform(frame)
        data[side].x, data[side].x_weight = bags.index, bags.weight
    data[RATES].edge_index, data[RATES].rating = index[:, TRAIN], rating[TRAIN]
    return AddAttributeKNN(RATES, candidate_fraction=0.2)(data), index, rating


@pytest.fixture
def loaders(planted):
    """Makes training and validation batches."""
    data, index, rating = planted

    def make(spoilt=False):
        held_out = 6 - rating[HELD_OUT] if spoilt else rating[HELD_OUT]
        options = {'shuffle': True, 'cold_dropout': {'user': 0.2, 'item': 0.2}}
        return (
            RatingLoader(data, index[:, TRAIN], rating[TRAIN], **options, **SIZES),
            RatingLoader(data, index[:, HELD_OUT], held_out, **SIZES),
        )

    return make


@pytest.fixture
def new_module(planted):
    """Makes a module; its initial weights follow the seed."""
    data, _, rating = planted

    def make(seed=0, **kwargs):
        torch.manual_seed(seed)
        tokens = {side: int(data[side].x.max()) + 1 for side in SIDES}
        sizes = {'channels': 6, 'hidden_channels': 6, 'dropout': 0.1}
        mean = float(rating.mean())
        model = AGNN({'user': 30, 'item': 40}, tokens, KINDS, mean=mean, **sizes)
        return RatingModule(model, **kwargs)

    return make


def test_a_fit_beats_the_constant_predictor(new_module, loaders):
    module = new_module(rating_range=(1, 5))
    train, validation = loaders()
    result = fit(module, train, validation, epochs=25, ema_decay=0.9)
    assert {'train_loss', 'train_mse', 'val_rmse', 'val_mae'} <= set(result.history[0])
    label = validation.edge_label
    constant = (label - train.edge_label.mean()).square().mean().sqrt().item()
    assert result.history[result.best_epoch]['val_rmse'] < 0.8 * constant
    predicted = predict(module.model, validation, 1, rating_range=(1, 5))
    rmse = (predicted - label).square().mean().sqrt().item()
    best = min(epoch['val_rmse'] for epoch in result.history)
    assert rmse == pytest.approx(best, rel=1e-4)


def test_the_link_loader_of_pyg_trains_to_the_same_weights(planted, new_module):
    data, index, rating = planted
    found = []
    for own in (False, True):
        options = {'batch_size': 90}
        rates = {'user': 0.2, 'item': 0.2}
        if own:
            loader = RatingLoader(
                data, index[:, TRAIN], rating[TRAIN], cold_dropout=rates, **SIZES
            )
        else:
            kinds = [k for k in data.edge_types if k[1].endswith('_knn')]
            sampler = ProximitySampler(data, {kind: [3] for kind in kinds})
            loader = LinkNeighborLoader(
                data,
                [3],
                edge_label_index=(RATES, index[:, TRAIN]),
                edge_label=rating[TRAIN],
                neighbor_sampler=sampler,
                transform=ColdDropout(sampler, rates),
                **options,
            )
        # Batches list neighbours in another order, which noise would depend on.
        module = new_module()
        module.model.dropout.p = 0.0
        for encoder in module.model.encoders.values():
            encoder.dropout.p = 0.0
            torch.nn.init.zeros_(encoder.evae.lin_logvar.weight)
            torch.nn.init.constant_(encoder.evae.lin_logvar.bias, -200)
            encoder.evae.lin_logvar.requires_grad_(False)
        result = fit(module, loader, epochs=2)
        found.append((result.history[-1]['train_loss'], module))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    one, other = (module.state_dict() for _, module in found)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-4, rtol=1e-3)


def test_weight_decay_covers_matrices_only(new_module):
    module = new_module(weight_decay=0.5, embedding_lr=0.7, lr=0.1)
    optimizer = module.configure_optimizers()['optimizer']
    embeddings, matrices, vectors = optimizer.param_groups
    nodes = {id(encoder.embedding) for encoder in module.model.encoders.values()}
    assert {id(p) for p in embeddings['params']} == nodes
    for group, lr, decay in (
        (embeddings, 0.7, 0),
        (matrices, 0.1, 0.5),
        (vectors, 0.1, 0),
    ):
        assert (group['initial_lr'], group['weight_decay']) == (lr, decay)
    assert all(p.dim() == 2 for p in matrices['params'])
    assert all(p.dim() < 2 for p in vectors['params'])
    count = sum(len(group['params']) for group in optimizer.param_groups)
    assert count == len(list(module.model.parameters()))


@pytest.mark.parametrize('published', [False, True])
def test_learning_rates_of_our_training_and_of_the_published(
    new_module, loaders, published
):
    options = {'published_optimizer': published, 'published_loss': published}
    module, rates = new_module(lr=0.1, weight_decay=0.5, **options), []
    module.on_before_zero_grad = lambda optimizer: rates.append(
        optimizer.param_groups[1]['lr']
    )
    history = fit(module, loaders()[0], epochs=3).history
    assert len(rates) == module.schedule_steps == 12
    if not published:
        assert rates == sorted(rates, reverse=True)
        assert (rates[0], rates[-1] < 0.003) == (0.1, True)
        return
    assert set(rates) == {0.1}
    optimizer = module.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert {group['weight_decay'] for group in optimizer.param_groups} == {0.5}
    # A sum over the pairs of a batch.
    assert history[0]['train_loss'] > 89 * history[0]['train_mse']


def test_loaders_without_ratings_are_named(planted, new_module, loaders):
    data, index, _ = planted
    bare = RatingLoader(data, index)
    with pytest.raises(ValueError, match="'train'"):
        fit(new_module(), bare, epochs=1)
    with pytest.raises(ValueError, match="'validation'"):
        fit(new_module(), loaders()[0], bare, epochs=1)
