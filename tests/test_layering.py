"""Which package may import which, and what an import must not pull in."""

import ast
import json

import pytest

from tests.conftest import ROOT, run_python

OURS = ('agnn_pyg', 'tanp', 'data', 'benchmarks', 'tests')
# Package: what it may import of ours, by prefix.
ALLOWED = {
    'agnn_pyg': ('agnn_pyg',),
    'agnn_pyg/graph': ('agnn_pyg.graph', 'agnn_pyg.base', 'agnn_pyg.nn'),
    'tanp': ('tanp', 'agnn_pyg.base'),
    'data': ('data', 'agnn_pyg.base', 'tanp.episodes'),
}
TRAINING = {
    *('pytorch_lightning', 'lightning', 'lightning_fabric', 'torchmetrics'),
    'tensorboard',
}
# What no layer needs.
HEAVY = TRAINING | {'matplotlib', 'pandas', 'scipy', 'sklearn', 'pyarrow'}
HEAVY |= {'data', 'benchmarks'}


def imports(source):
    """The modules that a file imports, and whether each is imported bare."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, True) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from agnn_pyg import base` names a module only there.
            yield from ((f'{node.module}.{alias.name}', False) for alias in node.names)


def within(module, prefix):
    return module == prefix or module.startswith(f'{prefix}.')


def forbidden(source, allowed):
    """What a file imports of ours, but must not."""
    return [
        module
        for module, _ in imports(source)
        if any(within(module, name) for name in OURS)
        and not any(within(module, prefix) for prefix in allowed)
    ]


@pytest.mark.parametrize('package', ALLOWED)
def test_packages_import_only_what_they_may(package):
    for path in (ROOT / package).rglob('*.py'):
        found = forbidden(path.read_text(encoding='utf-8'), ALLOWED[package])
        assert not found, path.relative_to(ROOT)


@pytest.mark.parametrize('package', ALLOWED)
def test_no_two_modules_import_each_other(package):
    names = {}
    for path in (ROOT / package).rglob('*.py'):
        parts = path.relative_to(ROOT).with_suffix('').parts
        names['.'.join(part for part in parts if part != '__init__')] = path
    needs = {}
    for name, path in names.items():
        found = {module for module, _ in imports(path.read_text(encoding='utf-8'))}
        found |= {module.rpartition('.')[0] for module in found}
        needs[name] = (found & names.keys()) - {name}
    # Modules that need none of those left are taken out, until a circle is left.
    while free := [name for name, found in needs.items() if not found & needs.keys()]:
        for name in free:
            del needs[name]
    assert not needs


def loaded_after(statement):
    """Top-level modules that a fresh interpreter holds after a statement."""
    roots = "sorted({name.partition('.')[0] for name in sys.modules})"
    code = f'import sys, json\n{statement}\nprint(json.dumps({roots}))'
    return set(json.loads(run_python('-c', code).splitlines()[-1]))


BASE = sorted(
    {path.stem for path in (ROOT / 'agnn_pyg' / 'base').glob('[a-z]*.py')}
    - {'callbacks', 'training'}
)
LAYERS = 'import torch_geometric.loader, torch_geometric.nn'


# A statement, what it may load as well as its own, and what it must not load.
@pytest.mark.slow
@pytest.mark.parametrize(
    ('statement', 'beside', 'banned'),
    [
        ('from agnn_pyg import *; import agnn_pyg.nn', LAYERS, HEAVY | {'tanp'}),
        ('import agnn_pyg.recommender, tanp.recommender', '', TRAINING),
        (
            f'from agnn_pyg.base import {", ".join(BASE)}',
            '',
            TRAINING | {'torch_geometric', 'sklearn', 'tanp'},
        ),
        # Tables come as frames. PyG it does without.
        ('import tanp, tanp.nn', 'import pandas', HEAVY | {'torch_geometric'}),
    ],
)
def test_an_import_loads_nothing_but_its_needs(statement, beside, banned):
    loaded = loaded_after(statement)
    assert 'agnn_pyg' in loaded
    assert not (loaded - loaded_after(beside)) & banned
