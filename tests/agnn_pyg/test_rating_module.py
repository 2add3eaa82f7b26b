"""Training of AGNN; the driver itself is tested in base/test_training.py."""

import pytest
import torch

pytest.importorskip('pytorch_lightning')

from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.base.training import fit
from agnn_pyg.graph.build import rating_graph
from agnn_pyg.inference import predict
from agnn_pyg.model import AGNN
from agnn_pyg.rating_module import RatingModule
from agnn_pyg.sampling.link_loader import LinkRatingLoader
from agnn_pyg.sampling.loader import RatingLoader
from data.synthetic import planted_tables

SIZES = {'batch_size': 90, 'num_neighbors': 3}
TRAIN, HELD_OUT = slice(0, 360), slice(360, None)


@pytest.fixture(scope='module')
def planted():
    """A graph whose ratings follow from attributes, and held-out pairs."""
    tables = planted_tables(30, 40, density=0.4)
    index = torch.stack([torch.from_numpy(part) for part in tables.positions()])
    rating = torch.tensor(tables.ratings['rating'].to_numpy(), dtype=torch.float)
    users, items = (
        AttributeEncoder(list(frame.columns[1:])).fit_transform(frame)
        for frame in (tables.users, tables.items)
    )
    graph = rating_graph(users, items, index[:, TRAIN], rating[TRAIN], pool=0.2)
    return graph, index, rating


@pytest.fixture
def loaders(planted):
    """Makes training and validation batches."""
    graph, index, rating = planted

    def make(kind=RatingLoader, spoilt=False, cold_rate=(0.2, 0.2)):
        held_out = 6 - rating[HELD_OUT] if spoilt else rating[HELD_OUT]
        options = {'shuffle': True, 'cold_rate': cold_rate, **SIZES}
        return (
            kind(graph, index[:, TRAIN], rating[TRAIN], **options),
            kind(graph, index[:, HELD_OUT], held_out, **SIZES),
        )

    return make


@pytest.fixture
def new_module(planted):
    """Makes a module; its initial weights follow the seed."""
    graph, _, rating = planted

    def make(seed=0, **kwargs):
        torch.manual_seed(seed)
        tokens = [int(graph[side].attr.max()) + 1 for side in ('user', 'item')]
        sizes = {'channels': 6, 'hidden_channels': 6, 'dropout': 0.1}
        model = AGNN(30, 40, *tokens, mean=float(rating.mean()), **sizes)
        return RatingModule(model, **kwargs)

    return make


def assert_same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_fit_beats_the_constant_predictor(new_module, loaders):
    module = new_module(rating_range=(1, 5))
    train, validation = loaders()
    result = fit(module, train, validation, epochs=25, ema_decay=0.9)
    assert {'train_loss', 'train_mse', 'val_rmse', 'val_mae'} <= set(result.history[0])
    constant = (validation.rating - train.rating.mean()).square().mean().sqrt().item()
    assert result.history[result.best_epoch]['val_rmse'] < 0.8 * constant
    predicted = predict(module.model, validation, draws=1, rating_range=(1, 5))
    rmse = (predicted - validation.rating).square().mean().sqrt().item()
    best = min(epoch['val_rmse'] for epoch in result.history)
    assert rmse == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize('ema_decay', [None, 0.9])
def test_an_interrupted_run_resumes_to_identical_results(
    new_module, loaders, tmp_path, ema_decay
):
    options = {'epochs': 4, 'ema_decay': ema_decay, 'ema_every': 4}
    whole, broken, resumed = new_module(), new_module(), new_module(seed=9)
    expected = fit(whole, *loaders(), **options)
    step = broken.training_step

    def failing(batch, batch_idx):
        if broken.current_epoch == 2 and batch_idx == 1:
            raise RuntimeError('power cut')
        return step(batch, batch_idx)

    broken.training_step = failing
    with pytest.raises(RuntimeError, match='power cut'):
        fit(broken, *loaders(), folder=tmp_path, **options)
    found = fit(resumed, *loaders(), folder=tmp_path, resume=True, **options)
    assert found == expected
    assert_same_weights(resumed, whole)
    # The same module may go on, too, without terms of the epoch that broke off.
    broken.training_step = step
    again = fit(broken, *loaders(), folder=tmp_path, resume=True, **options)
    assert again == expected


def test_validation_ratings_do_not_change_training(new_module, loaders):
    histories = []
    for validation in (loaders()[1], loaders(spoilt=True)[1], None):
        module = new_module()
        result = fit(module, loaders()[0], validation, epochs=3)
        histories.append([epoch['train_loss'] for epoch in result.history])
    assert histories[0] == histories[1] == histories[2]


def test_either_loader_trains_to_the_same_error(new_module, loaders):
    results = []
    for kind in (RatingLoader, LinkRatingLoader):
        train, _ = loaders(kind, cold_rate=(0, 0.2))
        results.append(fit(new_module(), train, loaders(kind)[1], epochs=2))
    one, other = (r.history[-1] for r in results)
    assert one['val_rmse'] == pytest.approx(other['val_rmse'], abs=0.2)
    mixed = fit(new_module(), train, loaders()[1], epochs=2)
    assert mixed.history == results[1].history


def test_weight_decay_covers_matrices_only(new_module):
    module = new_module(weight_decay=0.5, free_lr=0.7, lr=0.1)
    optimizer = module.configure_optimizers()['optimizer']
    free, matrices, vectors = optimizer.param_groups
    nodes = {id(module.model.user.free), id(module.model.item.free)}
    assert {id(p) for p in free['params']} == nodes
    for group, lr, decay in ((free, 0.7, 0), (matrices, 0.1, 0.5), (vectors, 0.1, 0)):
        assert (group['initial_lr'], group['weight_decay']) == (lr, decay)
    assert all(p.dim() == 2 for p in matrices['params'])
    assert all(p.dim() < 2 for p in vectors['params'])
    count = sum(len(group['params']) for group in optimizer.param_groups)
    assert count == len(list(module.model.parameters()))


def test_the_learning_rate_falls_to_zero(new_module, loaders):
    rates = []
    module = new_module(lr=0.1)
    module.on_before_zero_grad = lambda optimizer: rates.append(
        optimizer.param_groups[1]['lr']
    )
    fit(module, loaders()[0], epochs=3)
    assert len(rates) == module.schedule_steps == 12
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 0.1
    assert rates[-1] < 0.003


@pytest.mark.parametrize('device', ['cuda'], indirect=True)
@pytest.mark.cuda
def test_a_fit_on_the_device(new_module, loaders, device):
    assert len(fit(new_module(), *loaders(), epochs=2, accelerator='gpu').history) == 2


def test_loaders_without_ratings_are_named(new_module, loaders):
    train, validation = loaders()
    bare = RatingLoader(train.graph, train.index)
    with pytest.raises(ValueError, match="'train'"):
        fit(new_module(), bare, epochs=1)
    bare = RatingLoader(validation.graph, validation.index)
    with pytest.raises(ValueError, match="'validation'"):
        fit(new_module(), train, bare, epochs=1)
