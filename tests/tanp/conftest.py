"""Small episodes of every size, and models that read them."""

import pandas as pd
import pytest
import torch

from tanp.episodes import Episodes, offsets
from tanp.model import TaNP
from tanp.statistics import InteractionStatistics


@pytest.fixture(scope='session')
def tasks():
    """Six tasks of 4 to 9 interactions over 20 items, three in each support."""
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor([6, 4, 9, 5, 7, 8])
    item = torch.cat([torch.randperm(20, generator=generator)[:n] for n in size])
    label = torch.randint(0, 2, (int(size.sum()),), generator=generator).float()
    support = torch.full_like(size, 3)
    return Episodes(torch.arange(6), offsets(size), item, label, support, support)


SMALL = {
    'embedding_channels': (6, 5),
    'latent_channels': (6, 5, 4, 3),
    'task_channels': (6, 4),
    'num_clusters': 3,
    'decoder_channels': (6, 5),
}
VARIANTS = {
    'film': {},
    'gating': {'modulation': 'gating'},
    'published': {
        'user_ids': True,
        'target': 'all',
        'likelihood': 'gaussian',
        'squared_distance': False,
        'residual_modulation': False,
    },
    'task path only': {'latent_channels': None, 'num_clusters': 0},
    'attentive': {
        'latent_channels': None,
        'num_clusters': 0,
        'item_ids': False,
        'attention_heads': 2,
        'processes': 2,
        'signed_pools': True,
    },
    'regression': {'processes': 3},
    'everything': {
        'attention_heads': 2,
        'processes': 2,
        'signed_pools': True,
        'user_ids': True,
    },
}


@pytest.fixture
def small(tasks):
    """Builds a small model over 20 items and 6 users."""

    def build(variant='film', **options):
        torch.manual_seed(0)
        options = SMALL | VARIANTS.get(variant, {}) | options
        if options.get('attention_heads') or options.get('processes'):
            # Some of the users are fitted on, others are new.
            options['statistics'] = InteractionStatistics.fit(
                tasks.select(torch.arange(4)), 20, 6, rank=2, folds=2, damping=1.0
            )
        return TaNP(20, 6, **options)

    return build


@pytest.fixture(scope='session')
def frame():
    """Ratings of 40 users, 2 to 41 each, over 60 items."""
    generator = torch.Generator().manual_seed(1)
    rows = [
        (f'u{user}', f'i{int(item)}', float(torch.rand((), generator=generator) < 0.5))
        for user in range(40)
        for item in torch.randperm(60, generator=generator)[: user + 2]
    ]
    return pd.DataFrame(rows, columns=['user', 'item', 'rating'])
