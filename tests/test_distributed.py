"""Two processes take the steps that one takes on batches twice as large.

The test runs this file, alone and under torchrun: a program that trains a small module
for two epochs, and writes losses and weights to a file.
"""

import sys
import warnings

import numpy as np
import pytest
import torch

from agnn_pyg.base.training import fit
from tests.agnn_pyg.base.test_training import Regression, loaders
from tests.conftest import run_python


def main(path):
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    several = torch.distributed.is_torchelastic_launched()
    options = {'accumulate_grad_batches': 2}
    if several:
        options = {'devices': 2, 'strategy': 'ddp'}
    found = {}
    for kind in ('seeded', 'plain'):
        module = Regression(lr=0.1)
        # Processes draw noise of their own; without any, they add up to one.
        module.net[0].p = 0.0
        result = fit(module, *loaders(kind, 80), epochs=2, ema_decay=0.5, **options)
        for epoch in result.history:
            for key, value in epoch.items():
                found[f'{kind} {key} {epoch["epoch"]}'] = np.array(value)
        for key, value in module.state_dict().items():
            found[f'{kind} {key}'] = value.numpy()
    rank = module.global_rank if several else 'alone'
    np.savez(f'{path}/{rank}.npz', **found)


@pytest.mark.slow
def test_two_processes_reach_the_loss_of_one(tmp_path):
    run_python(__file__, tmp_path)
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    run_python(*launcher, __file__, tmp_path)
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


if __name__ == '__main__':
    main(sys.argv[1])
