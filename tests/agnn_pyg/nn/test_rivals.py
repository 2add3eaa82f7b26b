import pytest
import torch

from agnn_pyg.nn.node_encoder import NodeEncoder
from agnn_pyg.nn.rivals import RIVALS, RivalConv


@pytest.mark.parametrize('name', RIVALS)
def test_targets_are_the_first_rows_of_the_layers_output(name):
    torch.manual_seed(0)
    x = torch.randn(6, 4)
    edge_index = torch.tensor([[3, 4, 5, 2], [0, 0, 1, 1]])
    conv = RivalConv(name, 4)
    got = conv((x, x[:2]), edge_index, size=(6, 2))
    torch.testing.assert_close(got, RIVALS[name].forward(conv.conv, x, edge_index)[:2])
    # Neighbours are heard.
    other = x.clone()
    other[4] += 1
    assert not torch.equal(conv((other, x[:2]), edge_index, size=(6, 2))[0], got[0])


def test_unknown_layers_are_refused():
    with pytest.raises(ValueError, match=r"'conv' must be 'gated' or .*\(got 'gin'\)"):
        NodeEncoder(3, 4, 5, conv='gin')
