"""The same seed gives the same digits: what the files beside this one leave out.

Scripts, recommenders, training and resumed training have tests of their own, in
`tests/agnn_pyg`, `tests/tanp`, `tests/benchmarks` and `tests/interruption`.
"""

import numpy as np
import pytest
import torch
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg import ColdDropout, ProximitySampler
from benchmarks.episode_peers import PEERS as EPISODE_PEERS
from benchmarks.peers import PEERS
from data.splits import split
from data.synthetic import planted_tables, planted_tastes
from tanp import split_episodes
from tanp.recommender import TaNPRecommender

pytest.importorskip('pytorch_lightning')

from agnn_pyg.base.training import fit
from agnn_pyg.module import RatingModule

# All peers of episodes, whatever labels they are for.
BY_NAME = EPISODE_PEERS['bernoulli'] | EPISODE_PEERS['gaussian']
SMALL = {'embedding_channels': (4, 4), 'task_channels': (4, 4)}
SMALL |= {'decoder_channels': (4, 4), 'latent_channels': (4, 4, 4), 'num_clusters': 2}


def test_tanp_recommender():
    ratings = planted_tastes(30, 24, size=10).ratings
    options = {'support_size': 4, 'epochs': 3, 'model_options': SMALL}
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
    kinds = [kind for kind in tiny_graph.edge_types if kind[1].endswith('_knn')]
    weights = []
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
        module = RatingModule(tiny_model())
        fit(module, loader, epochs=2)
        weights.append(module.state_dict())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


# What their own libraries warn of is theirs.
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', PEERS)
def test_peers(name):
    tables = planted_tables(25, 20, density=0.5)
    parts = split(tables, 'warm')
    found = []
    for _ in range(2):
        settings = {key: values[0] for key, values in PEERS[name].GRID.items()}
        try:
            fitted = PEERS[name](**settings).fit(parts.train, tables)
        except ImportError as error:
            pytest.skip(str(error))
        found.append(list(fitted.predict(parts.validation)))
    assert found[0] == found[1]


@pytest.mark.parametrize('name', BY_NAME)
def test_episode_peers(name):
    tables = planted_tastes(30, 24, size=10)
    parts = split_episodes(
        tables.ratings,
        tables.users['user'],
        tables.items['item'],
        support_size=4,
        min_size=5,
    )
    peer = BY_NAME[name]
    settings = {key: values[0] for key, values in peer.GRID.items()}
    found = [peer(**settings).fit(parts.warm, 24).predict(parts.test) for _ in range(2)]
    assert np.array_equal(*found)
