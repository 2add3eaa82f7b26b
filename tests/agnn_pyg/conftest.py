"""A small fit that several tests look at; none of them changes it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.recommender import AGNNRecommender
from data.synthetic import planted_tables

# Enough for effects to show, little enough for a second.
SETTINGS = {'epochs': 2, 'steps': 3, 'channels': 8}
SETTINGS |= {'min_count': 2, 'kernel_steps': 2, 'cv_folds': 2}


def encoded_tables(num_users, num_items):
    """Token bags by side, rated pairs and ratings of planted tables."""
    tables = planted_tables(num_users, num_items, density=0.4, seed=0)
    index = torch.stack([torch.from_numpy(part) for part in tables.positions()])
    rating = torch.tensor(tables.ratings['rating'].to_numpy(), dtype=torch.float)
    bags = {}
    for side, frame in (('user', tables.users), ('item', tables.items)):
        bags[side] = AttributeEncoder(list(frame.columns[1:])).fit_transform(frame)
    return bags, index, rating


def listed(state):
    """A nested state with lists in place of tensors, to compare."""
    if isinstance(state, dict):
        return {key: listed(part) for key, part in state.items()}
    if isinstance(state, list | tuple):
        return [listed(part) for part in state]
    return state.tolist() if isinstance(state, torch.Tensor) else state


def rmse(predicted, frame):
    return float(np.sqrt(np.mean((predicted - frame['rating']) ** 2)))


@pytest.fixture(scope='session')
def planted():
    """Tables of which eight users and ten items arrive after the fit."""
    tables = planted_tables(60, 80, density=0.4, seed=0)
    users, items, ratings = tables.users, tables.items, tables.ratings
    later_user, later_item = users['user'].iloc[-8:], items['item'].iloc[-10:]
    cold_user = ratings['user'].isin(later_user)
    cold_item = ratings['item'].isin(later_item)
    return SimpleNamespace(
        users=users.iloc[:-8],
        items=items.iloc[:-10],
        new_users=users.iloc[-8:],
        new_items=items.iloc[-10:],
        ratings=ratings[~cold_user & ~cold_item],
        later=ratings[cold_user | cold_item],
    )


@pytest.fixture(scope='session')
def recommender(planted):
    made = AGNNRecommender(**SETTINGS)
    return made.fit(planted.ratings, planted.users, planted.items)
