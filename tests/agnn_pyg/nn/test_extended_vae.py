import pytest
import torch

from agnn_pyg.loss import kl_divergence
from agnn_pyg.nn import ExtendedVAE

NAMES = {'lin_in': 'enc_hidden', 'lin_mu': 'mu', 'lin_logvar': 'logvar'}
NAMES |= {'lin_latent': 'dec_hidden', 'lin_out': 'dec_out'}


@pytest.fixture
def numbers(golden):
    return golden('evae')


@pytest.fixture
def evae(numbers):
    evae, state = ExtendedVAE(6, 6).double(), {}
    for ours, theirs in NAMES.items():
        for part in ('weight', 'bias'):
            state[f'{ours}.{part}'] = numbers['parameters'][f'{theirs}_{part}']
    evae.load_state_dict(state)
    return evae


def assert_close(one, other):
    assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


def test_golden_numbers(evae, numbers, monkeypatch):
    inputs, expected = numbers['inputs'], numbers['outputs']
    output = evae.eval()(inputs['x'])
    for name in ('mu', 'logvar', 'reconstruction'):
        assert_close(getattr(output, name), expected[name])
    rows = (output.reconstruction - inputs['preference']).norm(dim=-1)
    assert_close(rows, expected['approximation_rows'])
    mu, logvar = output.mu, output.logvar
    monkeypatch.setattr(torch, 'randn_like', lambda _: inputs['eps_for_with_eps'])
    noisy = evae.train()(inputs['x'])
    assert_close(noisy.z, expected['with_eps']['z'])
    assert_close(noisy.reconstruction, expected['with_eps']['reconstruction'])
    assert_close(kl_divergence(mu, logvar), expected['kl_text_mean'])
    rows = [kl_divergence(m[None], v[None]) for m, v in zip(mu, logvar, strict=True)]
    assert_close(torch.stack(rows), expected['kl_text_rows'])
    assert kl_divergence(mu[:0], logvar[:0]) == 0
