"""Runs a suite: data sets x scenarios x splits x estimators x seeds.

    python -m benchmarks.run benchmarks/suites/rating.toml --splits 0 --seeds 0

Settings and epochs are selected only on the validation part; the test part is scored
once, at the end. Each run adds rows to RESULTS/runs.csv. Runs with existing rows are
skipped, so the same command resumes an interrupted suite.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from sklearn.base import clone

from agnn_pyg.base.config import Estimator
from benchmarks import records
from benchmarks.problems import RatingProblem, make_problem
from benchmarks.suite import EstimatorSpec, Suite, check_among, combinations, load_suite
from benchmarks.tables import tables_of
from data.fetch import DownloadError

# Settings that make no difference or have their own column.
NO_SETTINGS = ('seed', 'progress', 'accelerator')


def runs_of(
    suite: Suite, args: argparse.Namespace
) -> Iterator[tuple[EstimatorSpec, Estimator, dict[str, Any]]]:
    """Yields the requested estimators with the keys of their rows, split by split."""
    wanted = args.estimators or suite.labels
    check_among('--estimators', wanted, suite.labels)
    specs = [spec for spec in suite.estimators if {*spec.labels} & {*wanted}]
    data, scenarios = args.data or suite.data, args.scenarios or suite.scenarios
    splits, seeds = args.splits or suite.splits, args.seeds or suite.seeds
    for name, scenario, split, spec in product(data, scenarios, splits, specs):
        if not spec.runs_on(scenario) or suite.changes_nothing(spec, scenario):
            continue
        estimator = suite.build(spec, scenario, args.smoke)
        values = estimator.get_params()
        content = {'class': spec.type, 'grid': spec.grid, 'rows': spec.rows}
        content['values'] = {k: v for k, v in values.items() if k not in NO_SETTINGS}
        content['options'] = suite.options | ({'smoke': True} if args.smoke else {})
        keys = {'suite': suite.name, 'data': name, 'scenario': scenario, 'split': split}
        line = records.SETTINGS, 'settings', content
        keys['settings'] = records.add_line(args.results, *line)
        for seed in seeds if 'seed' in values else [None]:
            estimator.set_params(**{} if seed is None else {'seed': seed})
            yield spec, estimator, {**keys, 'seed': seed}


def run_suite(suite: Suite, args: argparse.Namespace) -> None:
    """Runs everything that has no rows yet."""
    problem, last, known = None, None, records.known_keys(args.results)
    for spec, estimator, keys in runs_of(suite, args):
        rows = [{**keys, 'estimator': label, 'part': 'test'} for label in spec.labels]
        texts = {tuple(records.as_text(row[k]) for k in records.KEYS) for row in rows}
        if texts <= known and not args.force:
            continue
        place, seed = (keys['data'], keys['scenario'], keys['split']), keys['seed']
        if place != last:
            problem, last = make_problem(*place, suite.options, args.smoke), place
        title = f'{", ".join(map(str, place))}: {spec.label}, seed {seed}'
        try:
            found = list(execute(spec, estimator, problem))
        except ImportError as error:
            print(f'{title}: not run ({error})', file=sys.stderr)
            continue
        origin, metric = records.origin(args.results), problem.criterion[0]
        records.add_rows(args.results, [{**keys, **row, **origin} for row in found])
        scores = [r.get(metric) for r in found if r['part'] == 'test']
        scores = ', '.join('no' if x is None else f'{x:.4f}' for x in scores)
        print(f'{title}: test {metric} {scores}', file=sys.stderr)


def execute(
    spec: EstimatorSpec, estimator: Estimator, problem: RatingProblem
) -> Iterator[dict[str, Any]]:
    """Selects settings on validation, fits again, and scores the test part once.

    The seconds of the validation row are for the selection. The seconds of test rows
    are for the final fit and the predictions.
    """
    records.reset_peak_memory()
    start, (metric, higher) = seconds(), problem.criterion
    best, least = None, float('inf')
    for chosen in combinations(spec.grid):
        fitted = problem.fit(clone(estimator).set_params(**chosen))
        scores = problem.validation(fitted)
        # Estimators without label estimates have no error: the first setting wins.
        value = scores.get(metric, 0.0) * (-1 if higher else 1)
        if value < least:
            best, least = (fitted, chosen, scores), value
    selected, chosen, validation = best
    note = {'chosen': json.dumps(chosen) if chosen else None}
    row = {'estimator': spec.label, 'part': 'validation', **note}
    yield {**row, **validation, **seconds(start)}
    start = seconds()
    final = problem.refit(clone(estimator).set_params(**chosen), selected)
    for label, settings in {spec.label: {}, **spec.rows}.items():
        # Settings that affect only predictions, such as the weight of a blend.
        final.set_params(**settings)
        for part, scores in problem.test(final):
            costs = {**seconds(start), 'peak_memory_mb': records.peak_memory_mb()}
            costs = costs if part == 'test' else {}
            yield {'estimator': label, 'part': part, **scores, **costs, **note}


def seconds(before: pd.Series | float = 0.0) -> pd.Series:
    """Wall-clock seconds and CPU seconds of this process since `before`."""
    now = {'seconds': time.perf_counter(), 'cpu_seconds': time.process_time()}
    return pd.Series(now) - before


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    title = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser('python -m benchmarks.run', description=title)
    add = parser.add_argument
    add('suite', type=Path, help='a TOML file, see benchmarks/suites')
    add('--splits', type=int, nargs='+', help="(default: the suite's)")
    add('--seeds', type=int, nargs='+', help="model seeds (default: the suite's)")
    add('--estimators', nargs='+', metavar='LABEL', help='(default: all)')
    add('--scenarios', nargs='+', help='(default: all)')
    add('--data', nargs='+', help='(default: all)')
    add('--results', type=Path, default=Path('runs'), help='folder (default: runs)')
    add('--threads', type=int, default=1, help='CPU threads (default: 1)')
    add('--force', action='store_true', help='repeat runs with existing rows')
    add('--smoke', action='store_true', help='run for seconds on tiny planted data')
    args = parser.parse_args(argv)
    try:
        torch.set_num_threads(args.threads)
        suite = load_suite(args.suite)
        run_suite(suite, args)
        rows = records.read_runs(args.results)
        # Print the table of scores; other tables compare splits.
        print(next(tables_of(rows, suite)).markdown())
    except (ValueError, OSError, DownloadError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted; run the same command to resume', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
