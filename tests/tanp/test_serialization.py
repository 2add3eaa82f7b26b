import json

import pytest
import torch

from tanp.inference import predict
from tanp.loader import EpisodeLoader
from tanp.serialization import load_model, save_model
from tests.tanp.conftest import VARIANTS
from tests.tanp.test_model import ATTRIBUTES

EXTRA = {'attributes': {'item_attributes': ATTRIBUTES, 'id_dropout': 0.1}}


@pytest.mark.parametrize('variant', [*VARIANTS, 'attributes'])
def test_what_is_saved_is_loaded(small, tasks, tmp_path, variant):
    model = small(variant, **EXTRA.get(variant, {}))
    model.know(torch.arange(4), torch.arange(15))
    save_model(model, tmp_path / 'model.pt')
    again = load_model(tmp_path / 'model.pt')
    assert again.config == model.config
    loader = EpisodeLoader(tasks, 4)
    assert torch.equal(predict(model, loader).mean, predict(again, loader).mean)
    assert [path.name for path in tmp_path.iterdir()] == ['model.pt']


def test_the_configuration_is_plain_text(small, tmp_path):
    save_model(small('gating'), tmp_path / 'model.pt')
    content = torch.load(tmp_path / 'model.pt', weights_only=True)
    assert json.loads(content['config'])['modulation'] == 'gating'


def test_loading_onto_a_device(small, tmp_path, device):
    save_model(small(), tmp_path / 'model.pt')
    model = load_model(tmp_path / 'model.pt', device)
    assert all(t.device.type == device.type for t in model.state_dict().values())


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        ({'format': 'tanp', 'version': 99}, '99'),
        ({'format': 'tanp'}, 'None'),
        ({'weights': torch.ones(2)}, 'another format'),
        (torch.ones(2), 'another format'),
    ],
)
def test_unknown_versions_are_refused(tmp_path, content, found):
    torch.save(content, tmp_path / 'model.pt')
    with pytest.raises(ValueError, match=rf"'path' must hold .* 1 .got {found}"):
        load_model(tmp_path / 'model.pt')


def test_files_that_are_no_models(tmp_path):
    path = tmp_path / 'model.pt'
    path.write_bytes(b'nonsense')
    with pytest.raises(ValueError, match=r"'path' does not hold a model.*model.pt"):
        load_model(path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / 'none.pt')


def test_nothing_is_executed(tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / 'harm'), 'w'))

    torch.save({'format': 'tanp', 'version': 1, 'config': Harm()}, tmp_path / 'm.pt')
    with pytest.raises(ValueError, match="'path' does not hold a model"):
        load_model(tmp_path / 'm.pt')
    assert not (tmp_path / 'harm').exists()
