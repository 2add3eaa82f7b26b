"""Which package may import which, and what an import must not pull in."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ('agnn_pyg', 'tanp', 'data', 'benchmarks', 'tests')
# Package: what it may import of ours, by prefix.
ALLOWED = {
    'agnn_pyg': ('agnn_pyg',),
    'tanp': ('tanp', 'agnn_pyg.base'),
    'data': ('data', 'agnn_pyg.base'),
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
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=ROOT,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_importing_the_layers_loads_nothing_but_pyg():
    loaded = loaded_after('from agnn_pyg import *; import agnn_pyg.nn')
    assert 'agnn_pyg' in loaded
    extra = loaded - loaded_after('import torch_geometric.loader, torch_geometric.nn')
    assert not extra & {*HEAVY, 'tanp'}


@pytest.mark.slow
def test_serving_loads_no_training_code():
    loaded = loaded_after('import agnn_pyg.recommender, tanp.recommender')
    loaded |= loaded_after('import agnn_pyg.base.commands')
    assert 'agnn_pyg' in loaded
    assert not loaded & TRAINING


@pytest.mark.slow
def test_importing_base_loads_neither_pyg_nor_an_engine():
    paths = (ROOT / 'agnn_pyg' / 'base').glob('[a-z]*.py')
    names = sorted({path.stem for path in paths} - {'training'})
    loaded = loaded_after(f'from agnn_pyg.base import {", ".join(names)}')
    assert {'agnn_pyg', 'pandas'} <= loaded
    assert not loaded & (TRAINING | {'torch_geometric', 'sklearn', 'tanp'})


@pytest.mark.slow
def test_importing_tanp_loads_no_engine():
    loaded = loaded_after('import tanp, tanp.nn')
    assert 'tanp' in loaded
    # Tables come as frames. PyG it does without: the other package, whose encoding of
    # attributes it shares, imports that when it is asked for a graph.
    extra = loaded - loaded_after('import pandas')
    assert not extra & (HEAVY | {'torch_geometric'})
