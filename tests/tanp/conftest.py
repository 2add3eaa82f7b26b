"""Small episodes of every size, and models that read them."""

import dataclasses

import pandas as pd
import pytest
import torch

from agnn_pyg.base.encoder import AttributeEncoder
from tanp import AttentiveTaNP, EpisodeLoader, Episodes, ItemStatistics, TaNP

SMALL = {'embedding_channels': (6, 5), 'latent_channels': (6, 5, 4, 3)}
SMALL |= {'task_channels': (6, 4), 'num_clusters': 3, 'decoder_channels': (6, 5)}
MEDIUM = {'embedding_channels': (8, 8), 'latent_channels': (16, 16, 8, 8)}
MEDIUM |= {'task_channels': (16, 8), 'num_clusters': 2, 'decoder_channels': (16, 16)}
PUBLISHED = {'user_ids': True, 'predict_support': True, 'likelihood': 'gaussian'}
PUBLISHED |= {'squared_distance': False, 'residual_modulation': False}
SHORT = SMALL | {'latent_channels': None, 'num_clusters': 0}
HEADS = {'attention_heads': 2, 'num_gps': 2}
# Those with heads or processes are AttentiveTaNP.
VARIANTS = {
    'film': SMALL,
    'gating': SMALL | {'modulation': 'gating'},
    'published': SMALL | PUBLISHED,
    'task path only': SHORT,
    'attentive': SHORT | HEADS,
    'attention only': SHORT | HEADS | {'num_gps': 0, 'pool_by_sign': False},
    'processes only': SHORT | HEADS | {'attention_heads': 0},
    'everything': SMALL | HEADS | {'user_ids': True, 'item_ids': True},
}
ATTENTIVE = [name for name, options in VARIANTS.items() if 'num_gps' in options]


@pytest.fixture(scope='session')
def tasks():
    """Six tasks of 4 to 9 interactions over 20 items, three in each support."""
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor([6, 4, 9, 5, 7, 8])
    item = torch.cat([torch.randperm(20, generator=generator)[:n] for n in size])
    label = torch.randint(0, 2, (int(size.sum()),), generator=generator).float()
    support = torch.full_like(size, 3)
    return Episodes(torch.arange(6), size, item, label, support)


@pytest.fixture(scope='session')
def statistics(tasks):
    """Of four of the six users."""
    some = tasks.select(torch.arange(4))
    return ItemStatistics.fit(some, 20, 6, rank=2, folds=4, damping=1.0)


@pytest.fixture
def small(statistics):
    """Builds a small model over 20 items and 6 users."""

    def build(variant='film', **options):
        torch.manual_seed(0)
        options = VARIANTS[variant] | options
        if variant in ATTENTIVE:
            return AttentiveTaNP(statistics, 6, **options)
        return TaNP(20, 6, **options)

    return build


@pytest.fixture(scope='session')
def attributes():
    """Of 20 items."""
    genres = [['war'], ['love', 'sea'], ['sea'], []] * 5
    frame = pd.DataFrame({'land': ['FR', 'JP'] * 10, 'genre': genres})
    return AttributeEncoder(['land', 'genre']).fit_transform(frame)


def whole(tasks):
    """All tasks as one batch."""
    (batch,) = EpisodeLoader(tasks, len(tasks))
    return batch


def with_support_size(tasks, size):
    """The same interactions, the first ones of each task as its support."""
    return dataclasses.replace(tasks, num_support=torch.full_like(tasks.size, size))


def uneven(tasks):
    """Tasks with supports of one to three interactions, as one batch and one by one."""
    parts = [tasks.select(torch.tensor([i])) for i in range(6)]
    alone = [whole(with_support_size(p, i % 3 + 1)) for i, p in enumerate(parts)]
    joined = []
    for name in alone[0]._fields:
        values = [row for batch in alone for row in getattr(batch, name)]
        pad = torch.nn.utils.rnn.pad_sequence
        joined.append(torch.stack(values) if name == 'user' else pad(values, True))
    return type(alone[0])(*joined), alone


def poisoned(batch):
    """The same batch with NaN and items that do not exist in the padding."""
    parts = batch._asdict()
    for side in ('support', 'query'):
        mask = parts[f'{side}_mask']
        for name, value in (('label', torch.nan), ('item', 10**6)):
            filled = parts[f'{side}_{name}'].masked_fill(~mask, value)
            parts[f'{side}_{name}'] = filled
    return batch._replace(**parts)
