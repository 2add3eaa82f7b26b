import pytest
import torch

from agnn_pyg.base.store import write_store
from tanp.inference import predict
from tanp.loader import EpisodeLoader
from tanp.serialization import load_model, save_model
from tests.tanp.conftest import VARIANTS
from tests.tanp.test_model import ATTRIBUTES

EXTRA = {'attributes': {'item_attributes': ATTRIBUTES, 'id_dropout': 0.1}}


@pytest.mark.parametrize('variant', [*VARIANTS, 'attributes'])
def test_a_saved_model_is_loaded(small, tasks, tmp_path, variant):
    model = small(variant, **EXTRA.get(variant, {}))
    model.know(torch.arange(4), torch.arange(15))
    save_model(model, tmp_path / 'model')
    again = load_model(tmp_path / 'model')
    loader = EpisodeLoader(tasks, 4)
    assert torch.equal(predict(model, loader).mean, predict(again, loader).mean)


def test_loading_onto_a_device(small, tmp_path, device):
    save_model(small(), tmp_path / 'model')
    model = load_model(tmp_path / 'model', device)
    assert all(t.device.type == device.type for t in model.state_dict().values())


def test_a_store_of_another_model_is_refused(small, tmp_path):
    model = small()
    save_model(model, tmp_path / 'model')
    write_store(tmp_path / 'model', 'TaNP', 1, {}, {})
    with pytest.raises(ValueError, match='version 1'):
        load_model(tmp_path / 'model')
    write_store(tmp_path / 'model', 'TaNP', 2, model.config, {'state': {}})
    with pytest.raises(ValueError, match=r"model' is damaged"):
        load_model(tmp_path / 'model')
