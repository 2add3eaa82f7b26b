"""The same seed gives the same digits: what the files beside this one leave out.

Scripts, recommenders, training and resumed training have tests of their own, in
`tests/agnn_pyg`, `tests/tanp`, `tests/benchmarks` and `tests/interruption`.
"""

import pytest
import torch
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg import ColdDropout, ProximitySampler
from benchmarks.baselines import few_shot, neighbors, rating, trees
from data.splits import split
from data.synthetic import planted_tables, planted_tastes
from tanp.recommender import TaNPRecommender

pytest.importorskip('pytorch_lightning')

from agnn_pyg.base.training import fit
from agnn_pyg.module import RatingModule

RATING = [
    *(rating.GlobalMean, rating.DampedBiases, rating.Ridge, rating.SlopeRidge),
    *(rating.BoostedTrees, rating.CollectiveMF, rating.SVDPlusPlus),
    *(rating.BayesianFM, rating.BayesianFMImplicit),
]
FEW_SHOT = [
    *(few_shot.Random, few_shot.Popularity, few_shot.ItemMean, few_shot.SupportMean),
    *(neighbors.ItemKNN, neighbors.LogisticStack, neighbors.SVDFoldIn),
    *(neighbors.ResidualKNN, neighbors.ResidualSVD, trees.BoostedTrees),
]
SMALL = {'embedding_channels': (4, 4), 'task_channels': (4, 4)}
SMALL |= {'decoder_channels': (4, 4), 'latent_channels': (4, 4, 4), 'num_clusters': 2}


def test_tanp_recommender():
    ratings = planted_tastes(30, 24, size=10).ratings
    options = {'support_sizes': (1, 4), 'epochs': 3, 'min_interactions': 2, **SMALL}
    found = []
    for _ in range(2):
        made = TaNPRecommender(**options).fit(ratings)
        found.append(made.adapt(ratings.head(4)).recommend(k=8))
        torch.rand(3)  # what was drawn in between does not matter
    assert found[0].equals(found[1])


# PyTorch finds four workers too many for two cores.
@pytest.mark.filterwarnings('ignore:This DataLoader will create')
@pytest.mark.slow
def test_training_with_no_worker_and_with_four(tiny_graph, tiny_pairs, tiny_model):
    kinds, weights = tiny_graph.edge_types, []
    for workers in (0, 4):
        sampler = ProximitySampler(tiny_graph, {kind: [3] for kind in kinds})
        loader = LinkNeighborLoader(
            tiny_graph,
            [3],
            edge_label_index=(('user', 'rates', 'item'), tiny_pairs[0]),
            edge_label=tiny_pairs[1],
            neighbor_sampler=sampler,
            transform=ColdDropout(sampler, {'user': 0.3, 'item': 0.3}),
            batch_size=16,
            shuffle=True,
            num_workers=workers,
        )
        module = RatingModule(tiny_model(rated=('user', 'rates', 'item')))
        fit(module, loader, epochs=2)
        weights.append(module.state_dict())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


# What their own libraries warn of is theirs.
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('baseline', RATING, ids=lambda b: b.__name__)
def test_rating_baselines(baseline):
    tables = planted_tables(25, 20, density=0.5)
    parts = split(tables, 'warm')
    found = []
    for _ in range(2):
        try:
            fitted = baseline().fit(parts.train, tables.users, tables.items)
        except ImportError as error:
            pytest.skip(str(error))
        found.append(list(fitted.predict(parts.validation)))
    assert found[0] == found[1]


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('baseline', FEW_SHOT, ids=lambda b: b.__name__)
def test_few_shot_baselines(baseline):
    tables = planted_tastes(30, 24, size=10)
    new = tables.ratings['user'].isin(tables.users['user'].iloc[:6])
    support = tables.ratings[new].groupby('user').head(4)
    found = []
    for _ in range(2):
        fitted = baseline().fit(tables.ratings[~new], tables.users, tables.items)
        found.append(fitted.adapt(support).predict(tables.ratings[new]))
    assert found[0].equals(found[1])
