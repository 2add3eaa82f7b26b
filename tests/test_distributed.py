"""Two processes take the steps that one takes on batches twice as large."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('pytorch_lightning')
ROOT = Path(__file__).parents[1]


def ran(folder, *launcher):
    """Runs the script that trains a module."""
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
    ran(tmp_path)
    ran(tmp_path, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2')
    alone, first, second = (
        np.load(tmp_path / f'{name}.npz') for name in ('alone', 0, 1)
    )
    expected = {f'{kind} train_loss 1' for kind in ('seeded', 'plain')}
    assert expected | {'seeded val_rmse 1'} <= set(alone)
    assert set(alone) == set(first) == set(second)
    for name, expected in alone.items():
        for process in (first, second):
            np.testing.assert_allclose(
                process[name], expected, rtol=1e-5, atol=1e-6, err_msg=name
            )
