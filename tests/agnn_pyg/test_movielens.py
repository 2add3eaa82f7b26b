"""The example of the README on PyG's own MovieLens100K, warm and cold."""

import re
from pathlib import Path

import pytest
import torch
from torch_geometric import datasets

README = Path(__file__).parents[2] / 'agnn_pyg' / 'README.md'
RATED = ('user', 'rates', 'movie')


@pytest.fixture
def example(movielens_folder, monkeypatch):
    """The block of the README, of at most 20 lines, in a folder with the data."""
    monkeypatch.chdir(movielens_folder.parent)
    text = README.read_text(encoding='utf-8')
    block = re.search(r'^```python\n(.*?)^```', text, re.DOTALL | re.MULTILINE)[1]
    assert 'MovieLens100K' in block
    assert len([line for line in block.splitlines() if line]) <= 20
    return compile(block, 'README.md', 'exec')


def rmse(example):
    torch.manual_seed(0)
    scope = {'__name__': '__main__'}
    exec(example, scope)  # noqa: S102
    error = scope['predicted'] - scope['data'][RATED].edge_label
    return error.square().mean().sqrt().item()


@pytest.mark.slow
def test_warm_movies(example):
    assert rmse(example) <= 0.93


@pytest.mark.slow
def test_cold_movies(example, movielens_folder, monkeypatch):
    """A fifth of the movies has no training ratings, and is what is predicted."""
    data = datasets.MovieLens100K(str(movielens_folder))[0]
    generator = torch.Generator().manual_seed(0)
    held_out = torch.rand(data['movie'].num_nodes, generator=generator) < 0.2
    store = data[RATED]
    kept = ~held_out[store.edge_index[1]]
    asked = held_out[store.edge_label_index[1]]
    store.edge_index, store.rating = store.edge_index[:, kept], store.rating[kept]
    store.edge_label_index = store.edge_label_index[:, asked]
    store.edge_label = store.edge_label[asked]
    monkeypatch.setattr(datasets, 'MovieLens100K', lambda root: [data])
    # All that is known without attributes: what a user gives on average.
    user, mean = store.edge_index[0], store.rating.float().mean()
    count = torch.bincount(user, minlength=data['user'].num_nodes)
    total = torch.zeros(len(count)).index_add(0, user, store.rating - mean)
    baseline = (mean + total / (count + 5))[store.edge_label_index[0]]
    baseline = (baseline - store.edge_label).square().mean().sqrt()
    assert rmse(example) < baseline
