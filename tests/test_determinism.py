"""The same seed gives the same digits: what the files beside this one leave out.

Scripts, recommenders, training and resumed training have tests of their own, in
`tests/agnn_pyg`, `tests/tanp`, `tests/benchmarks` and `tests/interruption`.
"""

import pytest
import torch
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg import ColdDropout, ProximitySampler
from agnn_pyg.base.training import fit
from agnn_pyg.module import RatingModule
from data.synthetic import planted_tastes
from tanp.recommender import TaNPRecommender

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
