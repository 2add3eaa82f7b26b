"""Suites: TOML files that say which estimators are compared, and on what."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from agnn_pyg.base.config import Config, NonNegativeInt
from benchmarks.problems import DATA
from data.splits import SCENARIOS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUITES = Path(__file__).parent / 'suites'
# Settings of any estimator that has them, for seconds on tiny planted data.
SMOKE = {'epochs': 2, 'steps': 1, 'cv_folds': 2, 'num_trees': 5, 'iterations': 5}


class EstimatorSpec(Config):
    """An estimator of a suite: a class, settings and a label."""

    label: str = Field(description='Its name in tables.')
    type: str = Field(description='Dotted path of its class, or of what makes it.')
    like: str | None = Field(None, description='Label of what it is a change of.')
    settings: dict[str, Any] = Field({}, description='Settings other than defaults.')
    by_scenario: dict[str, dict[str, Any]] = Field(
        {}, description='Further settings by scenario.'
    )
    grid: dict[str, list[Any]] | None = Field(
        None, description="Settings tried on validation, in place of the class's GRID."
    )
    rows: dict[str, dict[str, Any]] = Field(
        {}, description='Further rows of the same fit: settings of prediction by label.'
    )
    scenarios: list[str] | None = Field(None, description='Of them only.')
    data: list[str] | None = Field(None, description='Likewise.')

    @property
    def is_baseline(self) -> bool:
        """Whether it is one of :mod:`benchmarks.baselines`."""
        return self.type.startswith('benchmarks.')

    @property
    def labels(self) -> list[str]:
        """Labels of all its rows."""
        return [self.label, *self.rows]

    def runs_on(self, data: str, scenario: str) -> bool:
        """Whether it takes part in a scenario of a data set."""
        return data in (self.data or [data]) and scenario in (
            self.scenarios or [scenario]
        )

    def build(self, scenario: str, common: Mapping[str, Any], smoke: bool) -> Any:
        """Makes the estimator with its settings for a scenario."""
        estimator = _find(self.type)()
        known = estimator.get_params(deep=False)
        settings = {k: v for k, v in common.items() if k in known}
        settings |= self.settings | self.by_scenario.get(scenario, {})
        if smoke:
            settings |= {k: v for k, v in SMOKE.items() if k in known}
        return estimator.set_params(**{k: _plain(v) for k, v in settings.items()})


class Suite(Config):
    """Data sets, scenarios, splits, seeds and estimators."""

    name: str = Field(description='The name of its file.')
    title: str = Field(description='What is compared.')
    data: list[str] = Field(description='Names of data sets, see benchmarks.problems.')
    scenarios: list[str] = Field(description="Of data.splits, or 'few_shot'.")
    splits: list[NonNegativeInt] = Field(description='Seeds or numbers of splits.')
    seeds: list[NonNegativeInt] = Field([0], description='Model seeds.')
    own: str = Field(description='Label of the row that others are compared with.')
    settings: dict[str, Any] = Field(
        {}, description='Settings of every estimator that has them.'
    )
    options: dict[str, Any] = Field(
        {}, description='Of the problem: support_size, relevant, files.'
    )
    estimators: list[EstimatorSpec] = Field(description='What is compared.')

    @property
    def labels(self) -> list[str]:
        """Labels of all rows, in the order of tables."""
        return [label for spec in self.estimators for label in spec.labels]

    @property
    def baselines(self) -> list[str]:
        """Labels of the baselines."""
        return [spec.label for spec in self.estimators if spec.is_baseline]


def load_suite(path: str | Path) -> Suite:
    """Reads a suite.

    Raises:
        ValueError: If the file is missing or no TOML, or a key or value is not as
            declared; the text names the file.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding='utf-8'))
        specs: list[EstimatorSpec] = []
        for spec in content.pop('estimators', []):
            specs.append(_spec(spec, specs))
        suite = Suite(name=path.stem, estimators=specs, **content)
        _check(suite)
    except FileNotFoundError:
        known = ', '.join(sorted(p.name for p in SUITES.glob('*.toml')))
        raise ValueError(f"There is no file '{path}' (suites are {known})") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"'{path}': {error}") from error
    return suite


def _spec(content: dict[str, Any], known: Sequence[EstimatorSpec]) -> EstimatorSpec:
    """A spec; one with ``like`` has all of another's that it does not change."""
    if 'like' not in content:
        return EstimatorSpec(**content)
    labels = {spec.label: spec for spec in known}
    if content['like'] not in labels:
        raise ValueError(
            f"'like' must be a label above, of {', '.join(labels)} (got "
            f'{content["like"]!r})'
        )
    other, change = labels[content['like']], content.get('settings', {})
    settings = {
        'settings': other.settings | change,
        'by_scenario': {s: v | change for s, v in other.by_scenario.items()},
    }
    return EstimatorSpec(**{'type': other.type, **content, **settings})


def _check(suite: Suite) -> None:
    for name, values, known in (
        ('data', suite.data, DATA),
        ('scenarios', suite.scenarios, [*SCENARIOS, 'few_shot']),
        ('own', [suite.own], suite.labels),
    ):
        for value in values:
            if value.partition('@')[0] not in known:
                raise ValueError(
                    f"'{name}' must be of {', '.join(known)} (got {value!r})"
                )
    repeated = {x for x in suite.labels if suite.labels.count(x) > 1}
    if repeated:
        raise ValueError(f"'label' must differ in each estimator (got {repeated})")


def _find(path: str) -> Any:
    """The object of a dotted path: modules first, attributes of them after."""
    names = path.split('.')
    for count in range(len(names) - 1, 0, -1):
        module = '.'.join(names[:count])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise
            continue
        for name in names[count:]:
            found = getattr(found, name, None)
        if found is not None:
            return found
    raise ValueError(f"'type' must be the path of a class (got '{path}')")


def _plain(value: Any) -> Any:
    """TOML has no null: ``"none"`` stands for it."""
    return None if value == 'none' else value


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All settings of a grid; a single empty one of an empty grid."""
    made: list[dict[str, Any]] = [{}]
    for name, values in grid.items():
        made = [{**settings, name: value} for settings in made for value in values]
    return made
