"""The quick tests under other versions: `make test-matrix`.

The lowest are read from `setup.cfg`; interpreters that are not at hand are skipped.
"""

import configparser
import re
from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parents[1]
QUICK = ('-m', 'not slow and not realdata')


def lowest() -> list[str]:
    """The requirements of `setup.cfg` at their lowest versions."""
    config = configparser.ConfigParser(inline_comment_prefixes='#')
    config.read(ROOT / 'setup.cfg')
    texts = [config['options']['install_requires']]
    texts += [config['options.extras_require'][extra] for extra in ('test', 'train')]
    lines = {line.strip() for text in texts for line in text.splitlines()}
    return sorted(line.replace('>=', '==') for line in lines if '>=' in line)


def check(session: nox.Session, *constraints: str) -> None:
    """Installs the project with its tests' needs, and runs the quick tests."""
    session.chdir(ROOT)
    session.install(*constraints, '.[test]')
    # What was tested is this folder: the wheel only brought its requirements.
    session.run('python', '-m', 'pytest', *QUICK, *session.posargs)


@nox.session(python='3.10')
def oldest(session: nox.Session) -> None:
    check(session, *lowest())


@nox.session(python='3.11')
def pandas2(session: nox.Session) -> None:
    """The PyTorch of `constraints.txt` beside pandas 2 and NumPy 1."""
    pinned = (ROOT / 'constraints.txt').read_text(encoding='utf-8')
    torch = re.search(r'^torch==.*$', pinned, re.MULTILINE).group()
    # Newer ones of pyarrow ask for NumPy 2.
    check(session, torch, 'torch-geometric<2.7', 'pandas<3', 'numpy<2', 'pyarrow<21')


@nox.session(python='3.12')
def newest(session: nox.Session) -> None:
    check(session)
