"""Every Python block of the README runs as printed, in a fresh interpreter."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'^```python\n(.*?)^```', README, re.DOTALL | re.MULTILINE)


def test_there_are_blocks():
    assert len(BLOCKS) >= 3


@pytest.mark.slow
@pytest.mark.parametrize('number', range(len(BLOCKS)))
def test_block_runs(number, tmp_path):
    ran = subprocess.run(
        [sys.executable, '-W', 'error::UserWarning', '-c', BLOCKS[number]],
        cwd=tmp_path,
        env={'PYTHONPATH': str(ROOT), 'PATH': ''},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


def test_links_to_files_of_the_repository_exist():
    for target in re.findall(r'\]\((?!http|#)([^)]+)\)', README):
        assert (ROOT / target).exists(), target
