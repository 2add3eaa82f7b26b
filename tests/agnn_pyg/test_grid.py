import pytest
import torch

from agnn_pyg.grid import embed, rate_grid
from agnn_pyg.inference import predict
from agnn_pyg.link_loader import rating_loader
from agnn_pyg.model import AGNN

OPTIONS = {'batch_size': 7, 'num_neighbors': 3, 'seed': 5}


@pytest.mark.parametrize('hidden', [0, 6])
@pytest.mark.parametrize('numel', [2**17, 6, 40])
def test_the_same_numbers_as_pair_by_pair(
    hidden, numel, tiny_graph, tiny_attributes, monkeypatch, device
):
    monkeypatch.setattr('agnn_pyg.grid.BLOCK_NUMEL', numel)
    torch.manual_seed(0)
    tokens = [tiny_attributes[side].num_tokens for side in ('user', 'item')]
    model = AGNN(12, 15, *tokens, channels=4, hidden_channels=hidden, dropout=0.5)
    model = model.to(device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.size(), device=device)
    users, items = torch.tensor([11, 0, 4]), torch.tensor([3, 14, 2, 9, 7])
    sides = embed(model, tiny_graph, users, items, draws=3, **OPTIONS)
    rated = torch.cat([*rate_grid(model, *sides, block_size=2)])
    assert rated.size() == (3, 5)

    pairs = torch.cartesian_prod(users, items).t().contiguous()
    loader = rating_loader(tiny_graph, pairs, **OPTIONS)
    expected = predict(model, loader, draws=3).view(3, 5)
    assert torch.allclose(rated.cpu().double(), expected, atol=1e-5)
    assert model.training
