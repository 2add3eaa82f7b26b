"""No source runs what it reads: no pickle, no `eval`, no unguarded `torch.load`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for package in ('agnn_pyg', 'tanp', 'data', 'benchmarks')
    for path in (ROOT / package).rglob('*.py')
)
# Whole modules, and functions by their last name.
MODULES = {'pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal'}
MODULES |= {'yaml', 'code', 'runpy', 'jsonpickle'}
FUNCTIONS = {'eval', 'exec', 'compile', '__import__', 'read_pickle', 'to_pickle'}
FUNCTIONS |= {'system', 'popen', 'cuda', 'extractall', 'load_from_checkpoint'}


# Calls that must say so: function by owner and name, argument and value.
REQUIRED = {
    ('torch', 'load'): ('weights_only', True),
    ('trainer', 'fit'): ('weights_only', True),
}
REFUSED = (('allow_pickle', True), ('shell', True))


def offences(source):
    """What a source does that none of ours may."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [getattr(node, 'module', None), *(a.name for a in node.names)]
            roots = {str(module).partition('.')[0] for module in modules}
            yield from (f'imports {root}' for root in roots & MODULES)
        elif isinstance(node, ast.Call):
            yield from offences_of(node)


def offences_of(call):
    function = call.func
    name = getattr(function, 'attr', getattr(function, 'id', ''))
    owner = getattr(getattr(function, 'value', None), 'id', '')
    given = {k.arg: getattr(k.value, 'value', None) for k in call.keywords}
    # A module is put into evaluation mode, a regular expression is compiled.
    innocent = (name == 'eval' and not call.args) or owner in ('re', 'torch')
    if name in FUNCTIONS and not innocent:
        yield f'calls {name}'
    argument, value = REQUIRED.get((owner, name), (None, None))
    if argument and given.get(argument) is not value:
        yield f'calls {owner}.{name} without {argument}={value}'
    for argument, value in REFUSED:
        if given.get(argument) is value:
            yield f'calls {name} with {argument}={value}'


@pytest.mark.parametrize(
    ('source', 'offence'),
    [
        ('import pickle', 'imports pickle'),
        ('from joblib import load', 'imports joblib'),
        ('import torch\ntorch.load(x)', 'without weights_only'),
        ('torch.load(x, weights_only=False)', 'without weights_only'),
        ('np.load(x, allow_pickle=True)', 'load with allow_pickle'),
        ('eval(x)', 'calls eval'),
        ('x.cuda()', 'calls cuda'),
        ('pd.read_pickle(x)', 'calls read_pickle'),
        ('archive.extractall()', 'calls extractall'),
        ('run(x, shell=True)', 'run with shell'),
        ('trainer.fit(x)', 'fit without weights_only'),
    ],
)
def test_the_check_itself(source, offence):
    assert offence in next(offences(source))
    assert not list(offences('torch.load(x, weights_only=True); re.compile(x)'))


@pytest.mark.parametrize('path', SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_executed(path):
    assert list(offences(path.read_text(encoding='utf-8'))) == []
