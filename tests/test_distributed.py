"""Two processes take the steps that one takes on batches twice as large."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from agnn_pyg.sampling.link_loader import LinkRatingLoader
from agnn_pyg.sampling.loader import RatingLoader
from tanp import EpisodeLoader, Episodes
from tanp.episodes import offsets

ROOT = Path(__file__).parents[1]


def ran(folder, *launcher):
    """Runs the script that trains both models."""
    script = str(ROOT / 'tests' / 'distributed_fit.py')
    subprocess.run(
        [sys.executable, '-W', 'ignore', *launcher, script, str(folder)],
        env=os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
def test_two_processes_reach_the_loss_of_one(tmp_path):
    pytest.importorskip('pytorch_lightning')
    ran(tmp_path)
    ran(tmp_path, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2')
    alone, first, second = (
        np.load(tmp_path / f'{name}.npz') for name in ('alone', 0, 1)
    )
    assert {'agnn train_loss 1', 'tanp train_loss 1', 'agnn val_rmse 1'} <= set(alone)
    assert set(alone) == set(first) == set(second)
    for name, expected in alone.items():
        assert np.isfinite(expected).all(), name
        for process in (first, second):
            np.testing.assert_allclose(
                process[name], expected, rtol=1e-5, atol=1e-5, err_msg=name
            )


def batches_of(loader, world_size):
    """What each process iterates over."""
    parts = []
    for rank in range(world_size):
        loader.shard(rank, world_size)
        parts.append(list(loader))
        assert len(parts[-1]) == len(loader)
    loader.shard(0, 1)
    return parts


@pytest.mark.parametrize('kind', [RatingLoader, LinkRatingLoader])
def test_ratings_are_shared_out_batch_by_batch(kind, tiny_graph, tiny_pairs):
    index, rating = tiny_pairs
    options = {'batch_size': 10, 'num_neighbors': 2, 'cold_rate': (0.3, 0.3)}
    loader = kind(tiny_graph, index, rating, shuffle=True, **options)
    loader.set_epoch(3)
    whole = list(loader)
    assert len(whole) == 7
    parts = batches_of(loader, 2)
    assert [len(part) for part in parts] == [3, 3]
    for number, expected in enumerate(whole[:6]):
        found = parts[number % 2][number // 2]
        for side in ('user', 'item'):
            one, other = getattr(found, side), getattr(expected, side)
            assert torch.equal(one.n_id, other.n_id)
            assert torch.equal(one.cold, other.cold)
            assert torch.equal(one.edge_index, other.edge_index)
        assert torch.equal(found.edge_label, expected.edge_label)
    assert [len(part) for part in batches_of(loader, 9)] == [0] * 9
    assert len(list(loader)) == 7


def test_tasks_are_shared_out_batch_by_batch():
    size = torch.full((23,), 6)
    item = torch.arange(6).repeat(23)
    episodes = Episodes(
        torch.arange(23), offsets(size), item, (item % 2).float(), size // 2, size // 2
    )
    loader = EpisodeLoader(episodes, 4, context_sizes=(1, 3), shuffle=True, seed=1)
    whole = list(loader)
    parts = batches_of(loader, 4)
    assert [len(part) for part in parts] == [1, 1, 1, 1]
    for (found,), expected in zip(parts, whole[:4], strict=True):
        assert all(map(torch.equal, found, expected))
