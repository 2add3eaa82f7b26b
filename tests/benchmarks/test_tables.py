import re

import pandas as pd
import pytest

from benchmarks import report
from benchmarks.plots import layer_figure, scale_figure, time_figure
from benchmarks.records import KEYS, RESULTS, read_perf, read_runs
from benchmarks.report import fill, readme_blocks
from benchmarks.stats import Estimate, newest
from benchmarks.suite import SUITES, load_suite
from benchmarks.tables import against_best, columns_of, score_table, tables_of, written
from tests.conftest import ROOT

SUITE = """
title = "A suite"
data = ["ml-100k"]
scenarios = ["item_cold", "warm"]
splits = [0, 1]
own = "ours"

[[estimators]]
label = "ours"
type = "tests.benchmarks.fakes.Fake"

[[estimators]]
label = "ours, no part"
like = "ours"

[[estimators]]
label = "mean"
type = "benchmarks.baselines.rating.GlobalMean"

[[estimators]]
label = "ridge"
type = "benchmarks.baselines.rating.Ridge"
"""


@pytest.fixture
def suite(tmp_path):
    (tmp_path / 'toy.toml').write_text(SUITE)
    return load_suite(tmp_path / 'toy.toml')


def rows_of(scores, suite='toy', scenario='warm', metric='rmse', part='test'):
    """Rows from scores by label, a value a split."""
    return pd.DataFrame(
        [
            {
                **{'suite': suite, 'estimator': label, 'settings': 'a'},
                **{'data': 'ml-100k', 'scenario': scenario, 'split': str(split)},
                **{'seed': '0', 'part': part, metric: value},
            }
            for label, values in scores.items()
            for split, value in enumerate(values)
        ]
    )


@pytest.fixture
def rows():
    scores = {'ours': [1.0, 1.2], 'mean': [2.0, 2.2], 'ridge': [1.1, 1.2]}
    scores['ours, no part'] = [1.5, 1.7]
    warm = rows_of(scores)
    return pd.concat(
        [warm, rows_of({'ours': [0.5], 'ridge': [0.7]}, scenario='item_cold')]
    )


def test_an_error_has_two_digits_and_the_mean_as_many_places():
    for mean, error, expected in [
        (0.98472, 0.0071, '0.9847 ± 0.0071'),
        (1.1004, 0.0271, '1.100 ± 0.027'),
        (-0.07030, 0.00076, '-0.07030 ± 0.00076'),
        (12.3456, 1.2, '12.35 ± 1.20'),
        (0.5, 0.0, '0.5000'),
        (0.5, None, '0.5000'),
    ]:
        assert written(Estimate(mean, error, 3, None, 0)) == expected
        assert written(None) == 'not run'


def test_scores_are_paired_with_the_best_baseline(rows, suite):
    table = score_table(rows.assign(mae=0.5), suite)
    assert table.header == ('test RMSE / MAE', 'item cold', 'warm')
    cells = {row[0]: row[1:] for row in table.rows}
    assert cells['mean'][0] == 'not run'
    assert cells['ridge'] == ('0.7000 / 0.5000', '1.150 ± 0.061 / 0.5000')
    # Ridge: differences of -.1 and 0.
    gap = cells['RMSE, ours − best baseline']
    assert gap == ('-0.2000', '-0.050 ± 0.061')
    assert cells['splits × seeds'] == ('1 × 1', '2 × 1')
    assert cells['best baseline'] == ('ridge', 'ridge')
    assert cells['splits won'] == ('1 of 1', '1 of 2')
    assert cells['p'] == ('', '0.564')
    cells = {row[0]: row[1:] for row in score_table(rows[:0], suite).rows}
    assert cells['best baseline'] == ('not run', 'not run')


def test_the_best_baseline_was_run_on_all_splits_of_ours(suite):
    scores = {'ours': [1.0, 1.2], 'mean': [2.0, 2.2], 'ridge': [1.1]}
    rows = rows_of(scores)
    assert against_best(rows, suite, 'rmse')[0] == 'mean'
    rows = rows.assign(estimator='ridge')
    assert against_best(rows, suite, 'rmse')[0] == 'not run'


def test_of_rankings_the_higher_is_better(tmp_path):
    text = SUITE.replace('like = "ours"', 'type = "tests.benchmarks.fakes.Fake"')
    (tmp_path / 'toy.toml').write_text(text + '\n[options]\npositive = 4.0\n')
    suite = load_suite(tmp_path / 'toy.toml')
    scores = {'ours': [0.3, 0.6], 'mean': [0.2, 0.2], 'ridge': [0.4, 0.4]}
    rows = rows_of(scores, metric='ndcg@20').assign(**{'recall@20': 0.5})
    (table,) = tables_of(rows, suite)
    cells = {row[0]: row[-1] for row in table.rows}
    assert 'higher' in table.caption
    assert cells['mean'] == '0.2000 / 0.5000'
    assert cells['best baseline'] == 'ridge'
    assert cells['splits won'] == '1 of 2'
    assert cells['nDCG@20, ours − best baseline'].startswith('+0.05')


def test_pages_are_filled_between_marks():
    blocks = {'a results': 'new', 'b results': 'other'}
    text = 'x\n<!-- a results -->\nold\n<!-- /a results -->\ny'
    filled = fill(text, blocks)
    assert filled == text.replace('old', 'new')
    assert fill(filled, blocks) == filled
    for spoilt in (text.replace('/a', '/b'), text.replace('a res', 'c res')):
        with pytest.raises(ValueError, match='results'):
            fill(spoilt, blocks)


def test_tables_of_pages_are_those_of_the_results():
    blocks = readme_blocks(newest(read_runs(RESULTS)), read_perf(RESULTS), RESULTS)
    for page in ('README.md', 'benchmarks/README.md'):
        text = (ROOT / page).read_text(encoding='utf-8')
        assert '<!-- ' in text
        assert fill(text, blocks) == text
    for block in blocks.values():
        assert block.count('|') > 10


def test_committed_rows_are_whole():
    rows = read_runs(RESULTS)
    assert not rows.duplicated(KEYS).any()
    test = rows[rows['part'] == 'test']
    for column in ('settings', 'environment', 'commit'):
        assert (test[column] != '').all()
    assert test[['rmse', 'ndcg@10', 'ndcg@20']].notna().any(axis=1).all()


def test_the_page_has_every_suite_and_needs_no_network(tmp_path, capsys):
    out = tmp_path / 'page.html'
    assert report.main(['--out', str(out)]) == 0
    text = out.read_text(encoding='utf-8')
    assert not re.search(r'(src|href)="https?:', text)
    assert text.count('<svg') > 10
    rows = read_runs(RESULTS)
    for label in rows[rows['suite'] == 'rating']['estimator'].unique():
        assert label in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert report.main(['--results', str(tmp_path / 'nowhere')]) == 2


def test_figures_of_costs_are_drawn_from_rows():
    perf = read_perf(RESULTS)
    assert len(layer_figure(perf).axes) == 3
    labels = [axes.get_xlabel() for axes in scale_figure(perf).axes]
    assert labels == ['ratings', 'ratings', 'nodes', 'nodes']
    suite = load_suite(SUITES / 'rating.toml')
    rows = newest(read_runs(RESULTS))
    for axes in time_figure(columns_of(rows, suite), suite).axes:
        assert 'blend' in [text.get_text() for text in axes.texts]
        boxes = [text.get_window_extent() for text in axes.texts]
        assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself
