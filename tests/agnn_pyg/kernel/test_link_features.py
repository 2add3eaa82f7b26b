import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix as csr

from agnn_pyg.kernel.link_features import WALK, LinkFeatures


def random_weights(rng, *shape):
    return rng.random(shape) * (rng.random(shape) < 0.4)


@pytest.mark.parametrize('is_new', [False, True])
def test_inner_products_are_those_of_the_regularized_laplacian(is_new):
    rng = np.random.default_rng(0)
    weight = np.triu(random_weights(rng, 12, 12), 1)
    weight += weight.T
    weight[3], weight[:, 3] = 0, 0  # a node without edges
    links = random_weights(rng, 5, 12) if is_new else weight
    links[:, 3], links[3] = 0, 0
    x = F.normalize(LinkFeatures.fit(csr(weight)).transform(csr(links)))

    degree = weight.sum(axis=0)
    scale = np.diag(np.where(degree > 0, 1 / np.sqrt(degree.clip(1e-9)), 0))
    inverse = np.linalg.inv(np.eye(12) - WALK * scale @ weight @ scale)
    expected = links @ scale @ inverse @ scale @ links.T
    length = np.sqrt(np.diag(expected)).clip(1e-9)
    assert np.allclose(x @ x.t(), expected / np.outer(length, length), atol=1e-5)
    assert not x[3].any()


def test_few_features_keep_communities_apart():
    rng = np.random.default_rng(0)
    community = np.arange(300) % 3
    near = community[:, None] == community
    weight = np.triu(rng.random((300, 300)) < np.where(near, 0.1, 0.005), 1) * 1.0
    features = LinkFeatures.fit(csr(weight + weight.T), rank=3)
    x = F.normalize(features.transform(csr(weight.T)))
    linked = torch.from_numpy(weight.any(axis=0))
    cosine = (x @ x.t())[linked][:, linked]
    near = torch.from_numpy(near)[linked][:, linked]
    assert cosine[near].mean() > 0.9
    assert cosine[~near].mean() < 0.5
