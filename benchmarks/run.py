"""Runs a suite: data sets x scenarios x splits x estimators x seeds.

    python -m benchmarks.run benchmarks/suites/rating.toml --splits 0 --seeds 0

Settings and epochs are selected on the validation part only; the test part is scored
once, at the end. Each run adds rows to RESULTS/runs.csv. Runs whose rows are there are
skipped, so an interrupted suite continues with the same command.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks import records
from benchmarks.problems import FewShotProblem, RatingProblem, make_problem
from benchmarks.suite import EstimatorSpec, Suite, combinations, load_suite
from benchmarks.tables import tables_of
from data.fetch import DownloadError

Problem = RatingProblem | FewShotProblem
# Settings that make no difference, or that rows have in a column of their own.
NO_SETTINGS = ('seed', 'progress', 'accelerator')


@dataclass(frozen=True)
class Run:
    """One estimator on one split with one seed (none if it has no seed)."""

    suite: Suite
    spec: EstimatorSpec
    place: tuple[str, str, int]  # data, scenario, split
    seed: int | None
    smoke: bool

    def build(self, **chosen: Any) -> Any:
        """Makes the estimator, with settings that are chosen on validation."""
        seed = {} if self.seed is None else {'seed': self.seed}
        scenario, common = self.place[1], self.suite.settings
        return self.spec.build(scenario, common, self.smoke).set_params(
            **chosen, **seed
        )

    def settings(self) -> dict[str, Any]:
        """What the hash of the settings stands for."""
        made = self.build()
        values = made.get_params(deep=False)
        return {
            'class': self.spec.type,
            'values': {k: v for k, v in values.items() if k not in NO_SETTINGS},
            'grid': self.spec.grid_of(made),
            'options': self.suite.options | ({'smoke': True} if self.smoke else {}),
            'rows': self.spec.rows,
        }


def runs_of(suite: Suite, args: argparse.Namespace) -> Iterator[Run]:
    """All runs of a suite that arguments ask for, split by split."""
    wanted = args.estimators or suite.labels
    unknown = [label for label in wanted if label not in suite.labels]
    if unknown:
        raise ValueError(
            f"'--estimators' must be of {', '.join(suite.labels)} (got {unknown[0]!r})"
        )
    specs = [spec for spec in suite.estimators if {*spec.labels} & {*wanted}]
    data, scenarios = args.data or suite.data, args.scenarios or suite.scenarios
    splits = suite.splits if args.splits is None else args.splits
    for *place, spec in product(data, scenarios, splits, specs):
        values = spec.build(place[1], suite.settings, args.smoke).get_params(deep=False)
        if spec.runs_on(place[1]) and not suite.changes_nothing(spec, place[1]):
            seeds = args.seeds or suite.seeds
            for seed in seeds if 'seed' in values else [None]:
                yield Run(suite, spec, tuple(place), seed, args.smoke)


def run_suite(suite: Suite, args: argparse.Namespace) -> None:
    """Runs whatever has no rows yet."""
    folder, problem, place = args.results, None, None
    known = records.known_keys(folder)
    for run in runs_of(suite, args):
        settings = records.add_line(
            folder, records.SETTINGS, 'settings', run.settings()
        )
        names = zip(('data', 'scenario', 'split'), run.place, strict=True)
        keys = {
            'suite': suite.name,
            'settings': settings,
            'seed': run.seed,
            **dict(names),
        }
        rows = [{**keys, 'estimator': x, 'part': 'test'} for x in run.spec.labels]
        if not args.force and {records.key_of(row) for row in rows} <= known:
            continue
        if place != run.place:
            place, problem = (
                run.place,
                make_problem(*run.place, suite.options, args.smoke),
            )
        title = f'{", ".join(map(str, run.place))}: {run.spec.label}, seed {run.seed}'
        try:
            found = list(execute(run, problem))
        except ImportError as error:
            print(f'{title}: not run ({error})', file=sys.stderr)
            continue
        origin = records.origin(folder)
        records.add_rows(folder, [{**keys, **row, **origin} for row in found])
        metric = problem.criterion[0]
        tested = [row for row in found if row['part'] == 'test']
        scores = [f'{row["estimator"]} {row.get(metric, 0):.4f}' for row in tested]
        print(f'{title}: test {metric}: {", ".join(scores)}', file=sys.stderr)


def execute(run: Run, problem: Problem) -> Iterator[dict[str, Any]]:
    """Selects on validation, fits once more, scores the test part once.

    Yields:
        Rows. Seconds of the validation row are those of the selection, of test rows
        those of the final fit and the predictions.
    """
    records.reset_peak_memory()
    clock = Clock()
    selected, chosen, validation = select(run, problem)
    note = {'chosen': json.dumps(chosen) if chosen else None}
    row = {'estimator': run.spec.label, 'part': 'validation', **note}
    yield {**row, **validation, **clock.read()}
    clock = Clock()
    final = problem.refit(run.build(**chosen), selected)
    for label, settings in {run.spec.label: {}, **run.spec.rows}.items():
        # Settings that count when predictions are made, such as a blend's weight.
        final.set_params(**settings)
        for part, scores in problem.test(final):
            costs = {**clock.read(), 'peak_memory_mb': records.peak_memory_mb()}
            costs = costs if part == 'test' else {}
            yield {'estimator': label, 'part': part, **scores, **costs, **note}


def select(run: Run, problem: Problem) -> tuple[Any, dict[str, Any], Any]:
    """Fits all settings of the grid.

    Returns:
        The fitted estimator that is best on validation, the settings that were chosen,
        and its scores.
    """
    metric, higher = problem.criterion
    best, least = None, float('inf')
    for chosen in combinations(run.spec.grid_of(run.build())):
        fitted = problem.fit(run.build(**chosen))
        scores = problem.validation(fitted)
        # One that estimates no labels has no error, and nothing to choose by.
        value = scores.get(metric, 0.0) * (-1 if higher else 1)
        if value < least:
            best, least = (fitted, chosen, scores), value
    return best


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Seconds of the clock on the wall and of this process."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {'seconds': wall, 'cpu_seconds': cpu}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.run',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('suite', type=Path, help='a TOML file of benchmarks/suites')
    add('--splits', type=int, nargs='+', help="(default: the suite's)")
    add('--seeds', type=int, nargs='+', help="model seeds (default: the suite's)")
    add('--estimators', nargs='+', metavar='LABEL', help='(default: all)')
    add('--scenarios', nargs='+', help='(default: all)')
    add('--data', nargs='+', help='(default: all)')
    add('--results', type=Path, default=Path('runs'), help='folder (default: runs)')
    add('--threads', type=int, default=1, help='CPU threads (default: 1)')
    add('--force', action='store_true', help='repeat runs whose rows are there')
    add('--smoke', action='store_true', help='a few seconds on tiny planted data')
    args = parser.parse_args(argv)
    try:
        torch.set_num_threads(args.threads)
        suite = load_suite(args.suite)
        run_suite(suite, args)
        rows = records.read_runs(args.results)
        for _, table in tables_of(rows, suite):
            print(table.markdown())
            break  # the others compare splits
    except (ValueError, OSError, DownloadError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted; the same command continues', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
