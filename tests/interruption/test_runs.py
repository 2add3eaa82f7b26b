"""Graph building, training and reporting, killed and begun again: the same digits."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import agnn, tanp
from data.synthetic import planted_tables
from tests.interruption.killing import random_moments

pytest.importorskip('pytorch_lightning')

from agnn_pyg import AGNN, AttributeEncoder, RatingLoader, rating_graph
from agnn_pyg.base.training import fit
from agnn_pyg.rating_module import RatingModule

# A few in CI; `python -m benchmarks.reliability kills` sets twenty.
KILLS = int(os.environ.get('COLDSTART_KILLS', '2'))
CONFIGS = Path('benchmarks/configs').resolve()
# What differs between two runs of the same thing.
VOLATILE = ('command', 'environment', 'time', 'peak_memory_mb')


def build_and_train(folder):
    """From tables to trained weights, going on where somebody was killed."""
    tables = planted_tables(25, 25, density=0.5)
    encoded = []
    for frame in (tables.users, tables.items):
        encoder = AttributeEncoder(list(frame.columns[1:]))
        encoded.append(encoder.fit_transform(frame))
    user, item = (torch.from_numpy(rows) for rows in tables.positions())
    rating = torch.tensor(tables.ratings['rating'].to_numpy(), dtype=torch.float)
    index = torch.stack([user, item])
    graph = rating_graph(*encoded, index[:, 60:], rating[60:], pool=0.2)
    options = {'batch_size': 64, 'num_neighbors': 3}
    loaders = (
        RatingLoader(graph, index[:, 60:], rating[60:], shuffle=True, **options),
        RatingLoader(graph, index[:, :60], rating[:60], **options),
    )
    torch.manual_seed(0)
    tokens = [bags.num_tokens for bags in encoded]
    model = AGNN(25, 25, *tokens, channels=4, hidden_channels=4)
    module = RatingModule(model)
    result = fit(module, *loaders, epochs=4, folder=folder, resume=True)
    return result, module.state_dict()


@pytest.mark.slow
def test_training(tmp_path, record_property):
    expected, weights = build_and_train(tmp_path / 'whole')
    folder, kills = tmp_path / 'run', 0
    for killed in random_moments(lambda: build_and_train(folder), KILLS):
        kills += killed
        result, found = build_and_train(folder)
        assert result == expected
        assert all(torch.equal(value, found[key]) for key, value in weights.items())
        assert [p.name for p in folder.rglob('*.tmp')] == []
        shutil.rmtree(folder)
    record_property('kills', kills)


REPORTS = {
    'agnn': (agnn.main, CONFIGS / 'agnn' / 'ml100k-item-cold.toml'),
    'tanp': (tanp.main, CONFIGS / 'tanp' / 'lastfm.toml'),
}


def measured(folder):
    (path,) = folder.rglob('report.json')
    content = json.loads(path.read_text(encoding='utf-8'))
    return {key: value for key, value in content.items() if key not in VOLATILE}


@pytest.mark.slow
@pytest.mark.skipif(KILLS < 5, reason='minutes; each benchmark has a test of one kill')
@pytest.mark.parametrize('name', REPORTS)
def test_reporting(name, tmp_path, record_property, capsys):
    main, config = REPORTS[name]

    def run(folder, *more):
        assert main([str(config), '--smoke', '--out', str(folder), *more]) == 0

    run(tmp_path / 'whole')
    expected, kills = measured(tmp_path / 'whole'), 0
    folder = tmp_path / 'run'
    for killed in random_moments(lambda: run(folder), KILLS):
        kills += killed
        run(folder, '--resume')
        assert measured(folder) == expected
        shutil.rmtree(folder)
    record_property('kills', kills)
