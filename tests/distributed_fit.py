"""Trains both models for two epochs, and writes losses and weights to a file.

Run by test_distributed.py, alone and under torchrun.
"""

import sys
import warnings

import numpy as np
import torch

from agnn_pyg import AGNN, AttributeEncoder, RatingLoader, rating_graph
from agnn_pyg.base.training import fit
from agnn_pyg.rating_module import RatingModule
from data.synthetic import planted_tables
from tanp import EpisodeLoader, Episodes, TaNP
from tanp.episodes import offsets
from tanp.task_module import TaskModule


def train_agnn(**options):
    """On 360 ratings in four batches."""
    tables = planted_tables(30, 40, density=0.4)
    index = torch.stack([torch.from_numpy(part) for part in tables.positions()])
    rating = torch.tensor(tables.ratings['rating'].to_numpy(), dtype=torch.float)
    users, items = (
        AttributeEncoder(list(frame.columns[1:])).fit_transform(frame)
        for frame in (tables.users, tables.items)
    )
    graph = rating_graph(users, items, index[:, :360], rating[:360], pool=0.2)
    sizes = {'batch_size': 90, 'num_neighbors': 3}
    loader = RatingLoader(
        graph,
        index[:, :360],
        rating[:360],
        shuffle=True,
        cold_rate=(0.2, 0.3),
        **sizes,
    )
    held_out = RatingLoader(graph, index[:, 360:], rating[360:], **sizes)
    torch.manual_seed(0)
    model = AGNN(30, 40, users.num_tokens, items.num_tokens, channels=6)
    module = RatingModule(model)
    return module, fit(module, loader, held_out, epochs=2, ema_every=4, **options)


def train_tanp(**options):
    """On 48 tasks in four batches."""
    generator = torch.Generator().manual_seed(0)
    item = torch.rand(60, 12, generator=generator).argsort(dim=1)
    label = (item % 2 == torch.arange(60)[:, None] % 2).float()
    sizes, support = torch.full((60,), 12), torch.full((60,), 4)

    def episodes(chosen):
        parts = torch.arange(60)[chosen], offsets(sizes[chosen])
        parts += item[chosen].flatten(), label[chosen].flatten()
        return Episodes(*parts, support[chosen], support[chosen])

    loader = EpisodeLoader(
        episodes(slice(0, 48)), 12, context_sizes=(1, 6), shuffle=True
    )
    torch.manual_seed(0)
    model = TaNP(
        12,
        60,
        embedding_channels=(8, 8),
        latent_channels=(8, 8, 8, 4),
        task_channels=(16, 8),
        decoder_channels=(16, 16),
    )
    module = TaskModule(model, ks=(1, 3))
    held_out = EpisodeLoader(episodes(slice(48, 60)), 5)
    return module, fit(
        module, loader, held_out, epochs=2, monitor='val_loss', **options
    )


def main(path):
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    # Processes draw noise of their own; without any, they add up to one.
    torch.randn_like = torch.zeros_like
    several = torch.distributed.is_torchelastic_launched()
    options = {'accumulate_grad_batches': 2}
    if several:
        options = {'devices': 2, 'strategy': 'ddp'}
    found = {}
    for name, train in (('agnn', train_agnn), ('tanp', train_tanp)):
        options |= {'ema_decay': 0.9}
        module, result = train(**options)
        for epoch in result.history:
            for key, value in epoch.items():
                found[f'{name} {key} {epoch["epoch"]}'] = np.array(value)
        for key, value in module.model.state_dict().items():
            found[f'{name} {key}'] = value.numpy()
    rank = module.global_rank if several else 'alone'
    np.savez(f'{path}/{rank}.npz', **found)


if __name__ == '__main__':
    main(sys.argv[1])
