"""Suites: TOML files that define which estimators are compared on which data."""

from __future__ import annotations

import itertools
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from agnn_pyg.base.config import Config, NonNegativeInt
from benchmarks.problems import DATA, SCENARIOS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUITES = Path(__file__).parent / 'suites'
# Settings of `--smoke` for estimators that have them: runs take seconds on tiny planted
# data, whose tables have other columns.
SMOKE = {'epochs': 2, 'cv_folds': 2, 'num_trees': 5}
SMOKE |= {'user_attributes': None, 'item_attributes': None}
SMOKE |= {'support_sizes': (1, 5), 'min_interactions': 6, 'rating_range': (0, 5)}


class EstimatorSpec(Config):
    """An estimator of a suite."""

    label: str  # its name in tables
    type: str  # dotted path of its class or factory
    like: str | None = None  # label of the estimator that it changes
    settings: dict[str, Any] = Field({})  # other than defaults
    by_scenario: dict[str, dict[str, Any]] = Field({})  # more settings by scenario
    grid: dict[str, list[Any]]  # settings to choose from on validation
    rows: dict[str, dict[str, Any]] = Field({})  # prediction settings by label
    scenarios: list[str] | None = None  # scenarios to run on; None means all

    @property
    def labels(self) -> list[str]:
        return [self.label, *self.rows]

    def runs_on(self, scenario: str) -> bool:
        return scenario in (self.scenarios or [scenario])


class Suite(Config):
    """Data sets, scenarios, splits, seeds and estimators."""

    name: str  # name of its file
    title: str
    data: list[Literal[DATA]]
    scenarios: list[Literal[SCENARIOS]]
    splits: list[NonNegativeInt]  # seeds or numbers of splits
    seeds: list[NonNegativeInt] = Field([0])  # model seeds
    own: str  # label of the row to compare others with
    settings: dict[str, Any] = Field({})  # for every estimator that has them
    options: dict[str, Any] = Field({})  # for the problem, such as support_size
    estimators: list[EstimatorSpec]

    @property
    def labels(self) -> list[str]:
        return [label for spec in self.estimators for label in spec.labels]

    @property
    def baselines(self) -> list[str]:
        """Labels of the estimators in :mod:`benchmarks.baselines`."""
        return [s.label for s in self.estimators if s.type.startswith('benchmarks.')]

    @property
    def is_ablation(self) -> bool:
        return any(spec.like for spec in self.estimators)

    @property
    def has_positives(self) -> bool:
        return 'positive' in self.options

    @property
    def metric(self) -> str:
        """The metric that compares estimators on ratings or positives."""
        return 'ndcg@20' if self.has_positives else 'rmse'

    @property
    def is_few_shot(self) -> bool:
        return self.scenarios == ['few_shot']

    def build(self, spec: EstimatorSpec, scenario: str, smoke: bool = False) -> Any:
        """Makes an estimator with its settings for a scenario."""
        estimator = find(spec.type)()
        known = estimator.get_params(deep=False)
        settings = {k: v for k, v in self.settings.items() if k in known}
        settings |= spec.settings | spec.by_scenario.get(scenario, {})
        if smoke:
            settings |= {k: v for k, v in SMOKE.items() if k in known}
            if self.has_positives:
                settings.pop('rating_range', None)
        # TOML has no null, so the string "none" stands for None.
        settings = {k: None if v == 'none' else v for k, v in settings.items()}
        return estimator.set_params(**settings)

    def changes_nothing(self, spec: EstimatorSpec, scenario: str) -> bool:
        """Whether a spec has the same settings as its base in a scenario."""
        base = [other for other in self.estimators if other.label == spec.like]
        made = [self.build(each, scenario).get_params() for each in (spec, *base)]
        return bool(base) and made[0] == made[1]


def load_suite(path: str | Path) -> Suite:
    """Reads a suite; ``ValueError`` names the file and what is wrong in it."""
    path, specs = Path(path), {}
    try:
        content = tomllib.loads(path.read_text(encoding='utf-8'))
        for spec in content.pop('estimators', []):
            made = EstimatorSpec(**_completed(spec, specs))
            if made.label in specs:
                raise ValueError(f"'label' must be given once (got {made.label!r})")
            specs[made.label] = made
        suite = Suite(name=path.stem, estimators=list(specs.values()), **content)
        check_among('own', [suite.own], suite.labels)
    except FileNotFoundError:
        known = ', '.join(sorted(p.name for p in SUITES.glob('*.toml')))
        raise ValueError(f"There is no file '{path}'; suites are {known}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"'{path}': {error}") from error
    return suite


def check_among(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    """Raises ``ValueError`` if a value is unknown."""
    for value in values:
        if value not in known:
            raise ValueError(f"'{name}' must be in {', '.join(known)} (got {value!r})")


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations of a grid; an empty grid has one, empty combination."""
    return [dict(zip(grid, v, strict=True)) for v in itertools.product(*grid.values())]


def find(path: str) -> Any:
    """Imports the class or factory of an estimator by its dotted path."""
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"'type' must be a path to a class (got '{path}')") from error


def _completed(spec: dict[str, Any], known: dict[str, EstimatorSpec]) -> dict[str, Any]:
    """Completes a specification from its class or from the one in `like`."""
    if 'like' not in spec:
        grid = getattr(find(spec.get('type', '')), 'GRID', {})
        return {'grid': {name: list(values) for name, values in grid.items()}, **spec}
    check_among('like', [spec['like']], list(known))
    other, change = known[spec['like']], spec.get('settings', {})
    by_scenario = {s: v | change for s, v in other.by_scenario.items()}
    settings = {'settings': other.settings | change, 'by_scenario': by_scenario}
    return {'type': other.type, 'grid': other.grid, **spec, **settings}
