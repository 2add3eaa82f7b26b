"""What a user may import is there, and says what it is."""

import inspect
import re
from pathlib import Path

import pytest

import agnn_pyg
import agnn_pyg.nn
import tanp
import tanp.nn

PACKAGES = [agnn_pyg, agnn_pyg.nn, tanp, tanp.nn]


@pytest.mark.parametrize('package', PACKAGES)
def test_names_are_sorted_documented_and_complete(package):
    assert package.__all__ == sorted({*package.__all__})
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:  # some are imported when they are asked for
        assert inspect.getdoc(getattr(package, name)), name
    public = {
        name
        for name, thing in vars(package).items()
        if not name.startswith('_')
        and (inspect.isclass(thing) or inspect.isfunction(thing))
    }
    # Names that need the extra `train` are there once they were asked for.
    assert public - {*getattr(package, '_TRAINING', ())} == set(package.__all__)


def test_a_name_that_a_package_lacks():
    with pytest.raises(AttributeError, match="'agnn_pyg' has no attribute 'AGN'"):
        agnn_pyg.AGN  # noqa: B018


@pytest.mark.parametrize('package', [agnn_pyg, tanp])
def test_type_checkers_read_the_same_names(package):
    stub = Path(package.__file__).with_suffix('.pyi').read_text(encoding='utf-8')
    names = sorted([*package.__all__, *package._TRAINING])
    assert sorted(re.findall(r' as (\w+)', stub)) == names
