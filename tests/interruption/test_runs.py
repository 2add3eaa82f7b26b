"""Training that is killed at any event and resumed: the same digits."""

import os
import random
import shutil

import pytest
import torch

from agnn_pyg.base.training import fit
from tests.agnn_pyg.base.test_training import Regression, loaders
from tests.interruption.killing import killed_at

# A few by default; `make reliability` sets twenty.
KILLS = int(os.environ.get('COLDSTART_KILLS', '2'))


def train(folder):
    module = Regression()
    options = {'epochs': 6, 'ema_decay': 0.9, 'resume': True}
    return fit(module, *loaders(), folder=folder, **options), module.state_dict()


@pytest.mark.slow
def test_training(tmp_path):
    expected, weights = train(tmp_path / 'whole')
    folder, stream = tmp_path / 'run', random.Random(0)
    for _ in range(KILLS):
        assert killed_at(stream.randrange(150), lambda: train(folder))
        result, found = train(folder)
        assert result == expected
        assert all(torch.equal(value, found[key]) for key, value in weights.items())
        shutil.rmtree(folder)
