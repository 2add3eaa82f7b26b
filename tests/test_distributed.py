"""Two processes take the steps that one takes on batches twice as large."""

import numpy as np
import pytest

from tests.conftest import ROOT, run_python


@pytest.mark.slow
def test_two_processes_reach_the_loss_of_one(tmp_path):
    script = ROOT / 'tests' / 'distributed_fit.py'
    run_python(script, tmp_path)
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    run_python(*launcher, script, tmp_path)
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
