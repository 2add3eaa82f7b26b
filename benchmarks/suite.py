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
# Settings of any estimator that has them, for seconds on tiny planted data, whose
# tables have columns of their own.
SMOKE = {'epochs': 2, 'kernel_steps': 1, 'cv_folds': 2, 'num_trees': 5}
SMOKE |= {'user_attributes': None, 'item_attributes': None}


class EstimatorSpec(Config):
    """An estimator of a suite.

    Attributes:
        label: Its name in tables.
        type: Dotted path of its class, or of what makes it.
        like: Label of an estimator above: all that is not said here is taken from it.
        settings: Settings that are not defaults.
        by_scenario: Further settings, by scenario.
        grid: Settings tried on validation, in place of the class's ``GRID``.
        rows: Further rows of the same fit: by label, settings of predictions.
        scenarios: Scenarios where it runs; all without.
    """

    label: str
    type: str
    like: str | None = None
    settings: dict[str, Any] = Field({})
    by_scenario: dict[str, dict[str, Any]] = Field({})
    grid: dict[str, list[Any]] | None = None
    rows: dict[str, dict[str, Any]] = Field({})
    scenarios: list[str] | None = None

    @property
    def labels(self) -> list[str]:
        """Labels of all its rows."""
        return [self.label, *self.rows]

    def runs_on(self, scenario: str) -> bool:
        """Whether it takes part in a scenario."""
        return scenario in (self.scenarios or [scenario])

    def build(self, scenario: str, common: Mapping[str, Any], smoke: bool) -> Any:
        """Makes the estimator with its settings for a scenario."""
        estimator = _find(self.type)()
        known = estimator.get_params(deep=False)
        settings = {k: v for k, v in common.items() if k in known}
        settings |= self.settings | self.by_scenario.get(scenario, {})
        if smoke:
            settings |= {k: v for k, v in SMOKE.items() if k in known}
        # TOML has no null: "none" stands for it.
        settings = {k: None if v == 'none' else v for k, v in settings.items()}
        return estimator.set_params(**settings)

    def grid_of(self, estimator: Any) -> Mapping[str, Sequence[Any]]:
        """Settings to try: those of the suite, or of the class."""
        return getattr(estimator, 'GRID', {}) if self.grid is None else self.grid


class Suite(Config):
    """Data sets, scenarios, splits, seeds and estimators.

    Attributes:
        name: The name of its file.
        title: What is compared.
        data: Names of data sets, see :mod:`benchmarks.problems`.
        scenarios: Of :mod:`data.splits`, or ``few_shot``.
        splits: Seeds or numbers of splits.
        seeds: Model seeds.
        own: Label of the row that others are compared with.
        settings: Settings of every estimator that has them.
        options: Of the problem, such as ``support_size``.
        estimators: What is compared.
    """

    name: str
    title: str
    data: list[str]
    scenarios: list[str]
    splits: list[NonNegativeInt]
    seeds: list[NonNegativeInt] = Field([0])
    own: str
    settings: dict[str, Any] = Field({})
    options: dict[str, Any] = Field({})
    estimators: list[EstimatorSpec]

    @property
    def labels(self) -> list[str]:
        """Labels of all rows, in the order of tables."""
        return [label for spec in self.estimators for label in spec.labels]

    @property
    def baselines(self) -> list[str]:
        """Labels of estimators of :mod:`benchmarks.baselines`."""
        return [s.label for s in self.estimators if s.type.startswith('benchmarks.')]

    @property
    def is_ablation(self) -> bool:
        """Whether estimators are changes of others."""
        return any(spec.like for spec in self.estimators)

    def changes_nothing(self, spec: EstimatorSpec, scenario: str) -> bool:
        """Whether a change is none in a scenario: it has the settings of its base."""
        base = [other for other in self.estimators if other.label == spec.like]
        made = [s.build(scenario, self.settings, False) for s in (spec, *base)]
        return bool(base) and made[0].get_params() == made[1].get_params()


def load_suite(path: str | Path) -> Suite:
    """Reads a suite.

    Raises:
        ValueError: If the file is missing or no TOML, or a key or value is not as
            declared; the text names the file.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding='utf-8'))
        specs: dict[str, EstimatorSpec] = {}
        for spec in content.pop('estimators', []):
            made = EstimatorSpec(**_completed(spec, specs))
            if made.label in specs:
                raise ValueError(f"'label' must be given once (got {made.label!r})")
            specs[made.label] = made
        suite = Suite(name=path.stem, estimators=list(specs.values()), **content)
        _check('data', [name.partition('@')[0] for name in suite.data], DATA)
        _check('scenarios', suite.scenarios, [*SCENARIOS, 'few_shot'])
        _check('own', [suite.own], suite.labels)
    except FileNotFoundError:
        known = ', '.join(sorted(p.name for p in SUITES.glob('*.toml')))
        raise ValueError(f"There is no file '{path}' (suites are {known})") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"'{path}': {error}") from error
    return suite


def _completed(
    spec: Mapping[str, Any], known: Mapping[str, EstimatorSpec]
) -> dict[str, Any]:
    if 'like' not in spec:
        return dict(spec)
    _check('like', [spec['like']], known)
    other, change = known[spec['like']], spec.get('settings', {})
    by_scenario = {s: v | change for s, v in other.by_scenario.items()}
    settings = {'settings': other.settings | change, 'by_scenario': by_scenario}
    return {'type': other.type, **spec, **settings}


def _check(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise ValueError(f"'{name}' must be of {', '.join(known)} (got {value!r})")


def _find(path: str) -> Any:
    """The object of a dotted path: modules first, attributes of them after."""
    names, found = path.split('.'), None
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
        break
    if found is None:
        raise ValueError(f"'type' must be the path of a class (got '{path}')")
    return found


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All settings of a grid; a single empty one of an empty grid."""
    made: list[dict[str, Any]] = [{}]
    for name, values in grid.items():
        made = [{**settings, name: value} for settings in made for value in values]
    return made
