"""Runs a suite: data sets x scenarios x splits x estimators x seeds.

    python -m benchmarks.run benchmarks/suites/rating.toml --splits 0 --seeds 0

Settings and epochs are selected on the validation part only; the test part is scored
once, at the end. Each run adds rows to RESULTS/runs.csv. Runs whose rows are there are
skipped, so an interrupted suite goes on where it stopped. Prints the suite's table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import records
from benchmarks.problems import FewShotProblem, RatingProblem, make_problem
from benchmarks.suite import EstimatorSpec, Suite, combinations, load_suite
from benchmarks.tables import suite_table
from data.fetch import DownloadError

Problem = RatingProblem | FewShotProblem


@dataclass(frozen=True)
class Run:
    """One estimator on one split with one seed (none if it has no seed)."""

    suite: Suite
    spec: EstimatorSpec
    data: str
    scenario: str
    split: int
    seed: int | None
    smoke: bool = False

    def build(self, **chosen: Any) -> Any:
        """Makes the estimator, with settings that are chosen on validation."""
        estimator = self.spec.build(self.scenario, self.suite.settings, self.smoke)
        if self.seed is not None:
            chosen['seed'] = self.seed
        return estimator.set_params(**chosen)

    def description(self) -> dict[str, Any]:
        """What the hash of the settings stands for; the seed is not part of it."""
        values = self.build().get_params(deep=False)
        values.pop('seed', None)
        grid = self.grid(self.build())
        content = {'class': self.spec.type, 'values': values, 'grid': grid}
        options = {**self.suite.options, **({'smoke': True} if self.smoke else {})}
        return {**content, 'options': options, 'rows': self.spec.rows}

    def grid(self, estimator: Any) -> Mapping[str, Sequence[Any]]:
        """Settings to try: those of the suite, or of the class."""
        if self.spec.grid is not None:
            return self.spec.grid
        return getattr(estimator, 'GRID', {})

    def keys(self, settings: str) -> dict[str, Any]:
        """What its rows have in common beside the label."""
        return {
            'suite': self.suite.name,
            'settings': settings,
            'data': self.data,
            'scenario': self.scenario,
            'split': self.split,
            'seed': self.seed,
        }


def runs_of(suite: Suite, args: argparse.Namespace) -> Iterator[Run]:
    """All runs of a suite that arguments ask for, split by split."""
    wanted = args.estimators or suite.labels
    unknown = [label for label in wanted if label not in suite.labels]
    if unknown:
        raise ValueError(
            f"'--estimators' must be of {', '.join(suite.labels)} (got {unknown[0]!r})"
        )
    splits = suite.splits if args.splits is None else args.splits
    for data in args.data or suite.data:
        for scenario in args.scenarios or suite.scenarios:
            for split in splits:
                for spec in suite.estimators:
                    named = {*spec.labels} & {*wanted}
                    if named and spec.runs_on(data, scenario):
                        known = spec.build(scenario, {}, False).get_params(deep=False)
                        seeds = args.seeds or suite.seeds
                        for seed in seeds if 'seed' in known else [None]:
                            yield Run(
                                suite, spec, data, scenario, split, seed, args.smoke
                            )


def run_suite(suite: Suite, args: argparse.Namespace) -> None:
    """Runs whatever has no rows yet."""
    known = _known(args.results)
    environment = records.environment()
    problem: tuple[Any, Problem] | None = None
    for run in runs_of(suite, args):
        settings = records.add_line(
            args.results, records.SETTINGS, 'settings', run.description()
        )
        keys = run.keys(settings)
        names = [
            tuple(
                records.as_text({**keys, 'estimator': label, 'part': 'test'}[key])
                for key in records.KEYS
            )
            for label in run.spec.labels
        ]
        if not args.force and known >= set(names):
            continue
        place = run.data, run.scenario, run.split
        if problem is None or problem[0] != place:
            problem = place, make_problem(*place, suite.options, args.smoke)
        label = f'{run.data}, {run.scenario}, split {run.split}: {run.spec.label}'
        label += '' if run.seed is None else f', seed {run.seed}'
        try:
            rows = list(execute(run, problem[1]))
        except ImportError as error:
            print(f'{label}: not run ({error})', file=sys.stderr)
            continue
        origin = {
            'environment': records.add_line(
                args.results, records.ENVIRONMENTS, 'environment', environment
            ),
            'commit': records.commit(),
        }
        records.add_rows(args.results, [{**keys, **row, **origin} for row in rows])
        metric = problem[1].criterion[0]
        for row in rows:
            if row['part'] == 'test':
                name = row['estimator']
                print(f'{label} [{name}]: {metric} {row[metric]:.4f}', file=sys.stderr)


def execute(run: Run, problem: Problem) -> Iterator[dict[str, Any]]:
    """Selects on validation, fits once more, scores the test part once.

    Yields:
        Rows. Seconds of validation rows are those of the selection, of test rows
        those of the final fit and the predictions.
    """
    records.reset_peak_memory()
    clock = _Clock()
    selected, chosen, validation = select(run, problem)
    costs, clock = clock.read(), _Clock()
    note = {'chosen': json.dumps(chosen) if chosen else None}
    yield {
        'estimator': run.spec.label,
        'part': 'validation',
        **validation,
        **costs,
        **note,
    }
    final = problem.refit(run.build(**chosen), selected)
    for label, settings in ({run.spec.label: {}} | run.spec.rows).items():
        # Settings that count when predictions are made, such as a blend's weight.
        final.set_params(**settings)
        for part, scores in problem.test(final):
            costs = {}
            if part == 'test':
                memory = records.peak_memory_mb()
                costs = {**clock.read(), 'peak_memory_mb': memory}
            yield {'estimator': label, 'part': part, **scores, **costs, **note}


def select(run: Run, problem: Problem) -> tuple[Any, dict[str, Any], Any]:
    """Fits all settings of the grid; returns the best by the validation part.

    Returns:
        The fitted estimator, the settings that were chosen, and its scores.
    """
    metric, higher = problem.criterion
    best: tuple[Any, dict[str, Any], Any] | None = None
    for chosen in combinations(run.grid(run.build())):
        fitted = problem.fit(run.build(**chosen))
        scores = problem.validation(fitted)
        # One that estimates no labels has no error, and nothing to choose by.
        value = scores.get(metric, 0.0) * (-1 if higher else 1)
        if best is None or value < best[2].get(metric, 0.0) * (-1 if higher else 1):
            best = fitted, chosen, scores
    return best


class _Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        wall, cpu = self.start
        return {
            'seconds': time.perf_counter() - wall,
            'cpu_seconds': time.process_time() - cpu,
        }


def _known(folder: Path) -> set[tuple[str, ...]]:
    if not (folder / records.RUNS).exists():
        return set()
    rows = records.read_runs(folder)
    return set(rows[list(records.KEYS)].itertuples(index=False, name=None))


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
    except (ValueError, OSError, DownloadError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted; the same command goes on from here', file=sys.stderr)
        return 130
    print(suite_table(records.read_runs(args.results), suite))
    return 0


if __name__ == '__main__':
    sys.exit(main())
