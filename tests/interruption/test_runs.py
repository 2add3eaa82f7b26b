"""Training that is killed at random moments and resumed: the same digits."""

import os
import shutil

import pytest
import torch

pytest.importorskip('pytorch_lightning')

from agnn_pyg.base.training import fit
from tests.agnn_pyg.base.test_training import Regression, loaders
from tests.interruption.killing import random_moments

# A few by default; `make reliability` sets twenty.
KILLS = int(os.environ.get('COLDSTART_KILLS', '2'))


def train(folder):
    module = Regression()
    options = {'epochs': 6, 'ema_decay': 0.9, 'resume': True}
    return fit(module, *loaders(), folder=folder, **options), module.state_dict()


@pytest.mark.slow
def test_training(tmp_path, record_property):
    expected, weights = train(tmp_path / 'whole')
    folder, kills = tmp_path / 'run', 0
    for killed in random_moments(lambda: train(folder), KILLS):
        kills += killed
        result, found = train(folder)
        assert result == expected
        assert all(torch.equal(value, found[key]) for key, value in weights.items())
        shutil.rmtree(folder)
    record_property('kills', kills)
