"""The tiny tables as the data of a kernel model, and random feature maps."""

import pytest
import torch

from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.kernel.features import FeatureMaps
from agnn_pyg.rating_data import NodeFeatures, RatingData


@pytest.fixture(scope='session')
def tiny_data(tiny_frames, tiny_pairs):
    """Of the 12 users and 15 items, two of each have no ratings."""
    nodes, columns = {}, {}
    for side, frame in tiny_frames.items():
        encoder = AttributeEncoder(list(frame.columns), num_knots=3)
        bags = encoder.fit_transform(frame)
        nodes[side] = NodeFeatures(bags, bags)
        columns[side] = encoder.column_encoders
    return RatingData(nodes, columns, *tiny_pairs)


@pytest.fixture(scope='session')
def maps():
    """Feature maps of 12 users and 15 items, with two and three components."""
    made = []
    for size, widths, seed in ((12, [2, 3], 0), (15, [1, 2, 2], 1)):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(size, sum(widths), generator=generator, dtype=torch.double)
        x = torch.cat([x.new_ones(size, 1), x], dim=1)
        width = torch.tensor([1, *widths])
        component = torch.arange(len(width)).repeat_interleave(width)
        names = ('constant', *(f'column {k}' for k in range(len(widths))))
        made.append(FeatureMaps(x, component, names))
    return made
