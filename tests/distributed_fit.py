"""Trains a small module for two epochs, and writes losses and weights to a file.

Run by test_distributed.py, alone and under torchrun.
"""

import sys
import warnings

import numpy as np
import torch

from agnn_pyg.base.training import fit
from tests.agnn_pyg.base.test_training import Regression, loaders


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


if __name__ == '__main__':
    main(sys.argv[1])
