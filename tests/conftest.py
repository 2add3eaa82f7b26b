"""What all tests share: devices, golden numbers and a tiny graph of ratings."""

import importlib.util
import json
import os
import subprocess
import sys
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, settings

from data.fetch import DownloadError, fetch
from data.lastfm import load_lastfm
from data.movielens import ADDRESS, ML100K_CHECKSUMS, load_ml100k

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / 'tests' / 'golden'
EXTENSIONS = ('pyg_lib', 'torch_sparse', 'torch_scatter')

# Examples a property: `--hypothesis-profile nightly` looks longer, and elsewhere.
slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
options = {'deadline': None, 'suppress_health_check': slow}
settings.register_profile('ci', max_examples=100, derandomize=True, **options)
settings.register_profile('nightly', max_examples=2000, print_blob=True, **options)
settings.load_profile('ci')

# Sums in another order differ in the last digits: one thread, one order.
torch.set_num_threads(1)


def run_python(*arguments, **options):
    """Runs Python beside the packages of this folder; returns what it prints."""
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    options = {'cwd': ROOT, 'env': environment} | options
    command = [sys.executable, '-W', 'ignore', *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, **options)
    assert run.returncode == 0, run.stderr
    return run.stdout


def assert_redrawn(model):
    """All parameters are other ones after a reset."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    model.reset_parameters()
    for name, parameter in model.named_parameters():
        assert not parameter.eq(7).any(), name


def pytest_report_header() -> list[str]:
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else 'none'
    present = [name for name in EXTENSIONS if importlib.util.find_spec(name)]
    return [
        f'torch {torch.__version__}, PyG {version("torch-geometric")}, '
        f'CUDA device: {device}',
        f'PyG extensions: {", ".join(present) or "none"}',
    ]


def pytest_collection_modifyitems(items) -> None:
    """The pages, which take longest, run first, beside all others."""
    items.sort(key=lambda item: item.path.name != 'test_readme.py')


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=pytest.mark.cuda)])
def device(request):
    """Each device in turn; CUDA is skipped, visibly, where there is none."""
    if request.param == 'cuda' and not torch.cuda.is_available():
        pytest.skip('needs a CUDA device')
    return torch.device(request.param)


@pytest.fixture(scope='session')
def ml100k():
    """The tables of MovieLens-100K; skipped, visibly, where they cannot be had."""
    return or_skip(load_ml100k)


@pytest.fixture(scope='session')
def lastfm():
    """The tables of Last.FM, likewise."""
    return or_skip(load_lastfm)


@pytest.fixture(scope='session')
def movielens_folder(tmp_path_factory):
    """A folder with PyG's own MovieLens100K, made of GroupLens' archive; likewise."""
    from torch_geometric.datasets import MovieLens100K

    archive = or_skip(lambda: fetch(f'{ADDRESS}ml-100k.zip', ML100K_CHECKSUMS))
    folder = tmp_path_factory.mktemp('movielens') / 'ml-100k'
    (folder / 'raw').mkdir(parents=True)
    with zipfile.ZipFile(archive) as file:
        for name in ('u.item', 'u.user', 'u1.base', 'u1.test'):
            (folder / 'raw' / name).write_bytes(file.read(f'ml-100k/{name}'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of arrays that are not writable
        MovieLens100K(str(folder))
    return folder


def or_skip(load):
    """What a function loads; the test is skipped where it cannot be had."""
    try:
        return load()
    except DownloadError as error:
        pytest.skip(str(error))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A new folder that the test runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def golden():
    """Loads a golden file by name, its arrays and numbers as float64 tensors."""

    def load(name):
        content = json.loads((GOLDEN / f'{name}.json').read_text())
        return {part: _tensors(content[part]) for part in _NUMERIC if part in content}

    return load


_NUMERIC = ('inputs', 'parameters', 'outputs')


def _tensors(node):
    if isinstance(node, dict):
        return {key: _tensors(value) for key, value in node.items()}
    if isinstance(node, list) and node and isinstance(node[0], dict):
        return [_tensors(entry) for entry in node]
    return torch.tensor(node, dtype=torch.float64)


@pytest.fixture(scope='session')
def tiny_frames():
    """TokenBags of 12 users and 15 items: every kind of column, and gaps."""
    rng = np.random.default_rng(0)
    users = pd.DataFrame({'job': rng.choice(['nurse', 'clerk', 'cook'], 12)})
    users['age'] = rng.integers(18, 70, 12).astype(float)
    users.loc[3, 'age'] = users.loc[4, 'job'] = None
    items = pd.DataFrame(
        {
            'genre': [
                list(rng.choice(['war', 'love', 'sea', 'moon'], n, replace=False))
                for n in rng.integers(1, 4, 15)
            ],
            'land': rng.choice(['FR', 'JP', 'US'], 15),
            'year': rng.integers(1950, 2000, 15),
        }
    )
    items.at[2, 'genre'] = []
    return {'user': users, 'item': items}


@pytest.fixture(scope='session')
def tiny_pairs():
    """Training pairs and ratings; users 10, 11 and items 13, 14 have none."""
    rng = np.random.default_rng(1)
    user, item = (rng.random((10, 13)) < 0.5).nonzero()
    rating = torch.from_numpy(rng.integers(1, 6, len(user))).float()
    return torch.from_numpy(np.stack([user, item])), rating


@pytest.fixture(scope='session')
def tiny_attributes(tiny_frames):
    # Imported late: the process that hands out tests should not wait for PyG.
    from agnn_pyg.base.encoder import AttributeEncoder

    return {
        side: AttributeEncoder(list(frame.columns), num_knots=3).fit_transform(frame)
        for side, frame in tiny_frames.items()
    }


def rated_graph(bags, pairs, rating, **options):
    """A graph of token bags by side, rated edges between them, and attribute edges."""
    from torch_geometric.data import HeteroData

    from agnn_pyg.graph.transform import AddAttributeKNN

    data, rates = HeteroData(), ('user', 'rates', 'item')
    options = {'rating_knn': True, 'max_candidates': 500} | options
    for side, part in bags.items():
        data[side].x, data[side].x_weight = part.index, part.weight
    data[rates].edge_index, data[rates].rating = pairs, rating
    return AddAttributeKNN(rates, **options)(data)


@pytest.fixture(scope='session')
def tiny_graph(tiny_attributes, tiny_pairs):
    """The graph of these tables, with candidate sets of 6 and 7 nodes."""
    options = {'features': tiny_attributes, 'candidate_fraction': 0.5}
    return rated_graph(tiny_attributes, *tiny_pairs, **options)


@pytest.fixture
def tiny_model(tiny_attributes, tiny_pairs):
    """Makes a model of this graph; no parameter of it is zero."""
    from agnn_pyg.model import AGNN

    def make(**kwargs):
        torch.manual_seed(0)
        kinds = [(side, 'rating_knn', side) for side in tiny_attributes]
        tokens = {s: bags.num_tokens for s, bags in tiny_attributes.items()}
        options = {'channels': 4, 'mean': 3.5} | kwargs
        model = AGNN({'user': 12, 'item': 15}, tokens, kinds, **options).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn(parameter.size())
        if model.rated is not None:
            model.rating_layer.fit_positions(tiny_pairs[0])
        return model

    return make
