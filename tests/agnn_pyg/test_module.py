"""Training of AGNN; the driver itself is tested in base/test_training.py."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg.base.training import fit
from agnn_pyg.model import AGNN
from agnn_pyg.module import RatingModule
from agnn_pyg.sampling.batch import RatingBatch
from agnn_pyg.sampling.full_graph import FullGraphLoader
from tests.agnn_pyg.conftest import encoded_tables
from tests.conftest import rated_graph

SIDES, RATES = ('user', 'item'), ('user', 'rates', 'item')
KINDS = [(side, 'rating_knn', side) for side in SIDES]
TRAIN, HELD_OUT = slice(0, 360), slice(360, None)


@pytest.fixture(scope='module')
def planted():
    """A graph whose ratings follow from attributes, and held-out pairs."""
    bags, index, rating = encoded_tables(30, 40)
    data = rated_graph(bags, index[:, TRAIN], rating[TRAIN], candidate_fraction=0.2)
    return data, index, rating


@pytest.fixture
def loaders(planted):
    """Training steps, and the held-out pairs on the whole graph."""
    data, index, rating = planted
    graph = copy.copy(data)
    graph[RATES].edge_label_index = index[:, HELD_OUT]
    graph[RATES].edge_label = rating[HELD_OUT]
    rates = {'user': 0.2, 'item': 0.2}
    train = FullGraphLoader(data, RATES, steps=4, num_neighbors=3, cold_dropout=rates)
    batch = RatingBatch.from_data(graph)
    return train, DataLoader([batch], batch_size=None, collate_fn=lambda batch: batch)


@pytest.fixture
def new_module(planted):
    """Makes a module; its initial weights follow the seed."""
    data, _, rating = planted

    def make(seed=0, rated=RATES, **kwargs):
        torch.manual_seed(seed)
        options = {'channels': 6, 'dropout': 0.1, 'mean': float(rating.mean())}
        options |= {'messages': rated is not None, 'edge_types': KINDS}
        return RatingModule(AGNN.from_data(data, RATES, **options), **kwargs)

    return make


@pytest.mark.parametrize('rated', [None, RATES])
def test_a_fit_beats_the_constant_predictor(planted, new_module, loaders, rated):
    module, (train, validation) = new_module(rated=rated, rating_range=(1, 5)), loaders
    result = fit(module, train, validation, epochs=25, ema_decay=0.9)
    assert {'train_loss', 'train_mse', 'val_rmse', 'val_mae'} <= set(result.history[0])
    (batch,), label = validation, planted[2][HELD_OUT]
    constant = (label - planted[2][TRAIN].mean()).square().mean().sqrt().item()
    assert result.history[result.best_epoch]['val_rmse'] < 0.8 * constant
    with torch.no_grad():
        predicted = module.eval()(batch).clamp(1, 5)
    rmse = (predicted - label).square().mean().sqrt().item()
    best = min(epoch['val_rmse'] for epoch in result.history)
    assert rmse == pytest.approx(best, rel=1e-4)


@pytest.mark.filterwarnings('ignore:.*LeafSpec')
def test_a_trainer_of_ones_own_has_the_same_learning_rates(new_module, loaders):
    found = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer, *args):
            found.append(trainer.optimizers[0].param_groups[1]['lr'])

    options = {'logger': False, 'enable_checkpointing': False, 'callbacks': [Watch()]}
    options |= {'enable_progress_bar': False, 'enable_model_summary': False}
    trainer = pl.Trainer(max_epochs=2, num_sanity_val_steps=0, **options)
    trainer.fit(new_module(), *loaders)
    ours, found = found.copy(), []
    fit(new_module(), *loaders, epochs=2, callbacks=[Watch()])
    assert len(ours) == 8
    assert ours == found


def test_positives_are_ranked_by_a_graph_of_ones_own(planted):
    data, index, rating = copy.copy(planted[0]), *planted[1:]
    liked = rating >= 3.5
    data[RATES].edge_index, data[RATES].rating = index[:, liked], torch.ones(sum(liked))
    torch.manual_seed(0)
    model = AGNN.from_data(data, RATES, positives=True, edge_types=KINDS, channels=8)
    module = RatingModule(model, num_negatives=1000)
    train = FullGraphLoader(data, RATES, steps=10, num_neighbors=3)
    batch = next(iter(train))
    with torch.no_grad():
        states = model.eval().encode(**batch.nodes_and_edges)
    pairs, messages = batch.edge_label_index, batch.edge_index_dict[RATES]
    score = model.decode(states, pairs)
    found = module._rank(states, batch, score)
    known, total = {*zip(*torch.cat([messages, pairs], 1).tolist(), strict=True)}, 0.0
    for user, item in pairs.t().tolist():
        others = [i for i in {k for _, k in known} if (user, i) not in known]
        lists = torch.tensor([[user] * (len(others) + 1), [item, *others]])
        total -= float(model.decode(states, lists).log_softmax(0)[0].detach())
    assert float(found.detach()) == pytest.approx(total / pairs.size(1), rel=1e-5)
    result = fit(module, train, epochs=8)
    losses = [epoch['train_ranking'] for epoch in result.history]
    assert losses[-1] < losses[0]
    with pytest.raises(ValueError, match='validation'):
        fit(module, train, [batch], epochs=1)


def test_weight_decay_covers_matrices_only(new_module):
    options = {'weight_decay': 0.5, 'embedding_weight_decay': 0.3}
    module = new_module(embedding_lr=0.7, lr=0.1, **options)
    module.schedule_steps = 10
    optimizer = module.configure_optimizers()['optimizer']
    embeddings, matrices, vectors = optimizer.param_groups
    nodes = {id(encoder.embedding) for encoder in module.model.encoders.values()}
    assert {id(p) for p in embeddings['params']} == nodes
    found = [(g['initial_lr'], g['weight_decay']) for g in optimizer.param_groups]
    assert found == [(0.7, 0.3), (0.1, 0.5), (0.1, 0)]
    assert all(p.dim() == 2 for p in matrices['params'])
    assert not nodes & {id(p) for p in matrices['params']}
    assert all(p.dim() < 2 for p in vectors['params'])
    count = sum(len(group['params']) for group in optimizer.param_groups)
    assert count == len(list(module.model.parameters()))


@pytest.mark.parametrize('published', [False, True])
def test_learning_rates_of_our_training_and_of_the_published(
    new_module, loaders, published
):
    options = {'published_optimizer': published, 'published_loss': published}
    module, rates = new_module(lr=0.1, weight_decay=0.5, **options), []
    module.on_before_zero_grad = lambda o: rates.append(o.param_groups[1]['lr'])
    history = fit(module, loaders[0], epochs=3).history
    assert len(rates) == module.schedule_steps == 12
    if not published:
        # Ten steps of warm-up, and half a cosine.
        steps = np.arange(12)
        warm_up, cosine = np.minimum(1, (steps + 1) / 10), np.cos(np.pi * steps / 12)
        np.testing.assert_allclose(rates, 0.1 * warm_up * (1 + cosine) / 2)
        return
    assert set(rates) == {0.1}
    optimizer = module.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert {group['weight_decay'] for group in optimizer.param_groups} == {0.5}
    # A sum over the pairs of a batch.
    assert history[0]['train_loss'] > 50 * history[0]['train_mse']


def test_loaders_without_ratings_are_named(new_module, loaders):
    bare = SimpleNamespace(edge_label=None)
    with pytest.raises(ValueError, match="'train'"):
        fit(new_module(), bare, epochs=1)
    with pytest.raises(ValueError, match="'validation'"):
        fit(new_module(), loaders[0], bare, epochs=1)
    bare = [RatingBatch.from_data(b)._replace(edge_label=None) for b in loaders[0]]
    for given in ([bare], [loaders[0], bare]):
        with pytest.raises(ValueError, match="'edge_label'"):
            fit(new_module(), *given, epochs=1)


@pytest.mark.filterwarnings('ignore:.*pyg-lib')
def test_graphs_and_loaders_for_something_else(planted, new_module):
    data, index, rating = copy.copy(planted[0]), *planted[1:]
    known = {'edge_label_index': (RATES, index), 'edge_label': rating}
    loader = LinkNeighborLoader(data, [2], neg_sampling_ratio=1.0, **known)
    with pytest.raises(ValueError, match="'train' must not sample negative"):
        fit(new_module(), loader, epochs=1)
    data[RATES].rating = data[RATES].rating - 3
    place = int((data[RATES].rating <= 0).nonzero()[0])
    with pytest.raises(ValueError, match=f"'rating' of .* at position {place}"):
        AGNN.from_data(data, RATES, positives=True)
