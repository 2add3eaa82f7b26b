import dataclasses

import numpy as np
import pytest

from benchmarks import experiment
from benchmarks.config import (
    AGNNConfig,
    DataConfig,
    GraphConfig,
    MessageConfig,
    TrainConfig,
)
from benchmarks.experiment import Options, learn_messages, run_agnn
from data.splits import split
from data.synthetic import planted_tables

COLUMNS = {
    'user_attributes': ('age', 'gender', 'occupation'),
    'item_attributes': ('genre', 'country', 'year'),
}


def tiny_config(mode, **messages):
    return AGNNConfig(
        DataConfig(mode=mode, min_count=1, num_knots=4, **COLUMNS),
        GraphConfig(**COLUMNS),
        MessageConfig(steps=2, folds=2, **messages),
        train=TrainConfig(epochs=2, batch_size=256),
    )


class WatchedSplit:
    """A split that notes how often training had run when its test was read."""

    def __init__(self, parts, trained):
        self._parts, self._trained, self.reads = parts, trained, []

    def __getattr__(self, name):
        if name == 'test':
            self.reads.append(len(self._trained))
        return getattr(self._parts, name)


@pytest.mark.parametrize('mode', ['item_cold', 'warm'])
def test_training_cannot_reach_the_test_part(tmp_path, monkeypatch, mode):
    tables, trained = planted_tables(), []
    parts = WatchedSplit(split(tables, mode, seed=0), trained)
    train = experiment._train

    def watched(*arguments, **options):
        result = train(*arguments, **options)
        trained.append(True)
        return result

    monkeypatch.setattr(experiment, '_train', watched)
    config = tiny_config(mode)
    messages = learn_messages(config, tables, parts)
    run_agnn(config, tables, parts, 0, Options(tmp_path), messages)
    # Selected and refitted: only then may anything look.
    assert parts.reads
    assert set(parts.reads) == {2}


def test_test_ratings_change_nothing_but_test_scores(tmp_path):
    tables = planted_tables()
    config, reports = tiny_config('item_cold'), []
    for number in range(2):
        parts = split(tables, 'item_cold', seed=0)
        if number:
            flipped = parts.test.assign(rating=6 - parts.test['rating'])
            parts = dataclasses.replace(parts, test=flipped)
        messages = learn_messages(config, tables, parts)
        folder = tmp_path / str(number)
        report = run_agnn(config, tables, parts, 0, Options(folder), messages)
        reports.append(report)
    first, second = reports
    for key in ('best_epoch', 'history', 'gates'):
        assert first[key] == second[key]
    assert first['metrics']['val'] == second['metrics']['val']
    assert first['metrics']['test'] != second['metrics']['test']


def test_messages_help_where_attributes_tell(tmp_path):
    tables = planted_tables(120, 120)
    parts = split(tables, 'item_cold', seed=0)
    config = tiny_config('item_cold', share=1.0)
    messages = learn_messages(config, tables, parts)
    scores = []
    for given in (messages, None):
        report = run_agnn(config, tables, parts, 0, Options(tmp_path), given)
        scores.append(report['metrics']['test']['rmse'])
    assert scores[0] < scores[1]
    assert np.isfinite(list(report['metrics']['test'].values())).all()


def test_no_share_no_messages():
    tables = planted_tables()
    parts = split(tables, 'warm', seed=0)
    assert learn_messages(tiny_config('warm', share=0.0), tables, parts) is None
