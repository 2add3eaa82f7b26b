"""The formulas against the published code's own numbers, in double precision."""

from pathlib import Path

import pytest
import torch

from tanp.loader import EpisodeBatch
from tanp.loss import clustering_loss, kl_divergence, tanp_loss, target_distribution
from tanp.model import TaNP, TaskOutput
from tanp.nn import ClusterMemory, Gaussian, LatentEncoder, ModulatedDecoder, SetEncoder
from tanp.nn.rows import rows_of

GOLDEN = Path(__file__).parents[1] / 'golden'
MODELS = ['np_forward', 'np_forward_wide']


def close(one, other):
    return torch.allclose(one, other, rtol=1e-9, atol=1e-9)


def fill(linear, parameters, name):
    linear.weight.data = parameters[f'{name}_weight']
    if linear.bias is not None:
        linear.bias.data = parameters[f'{name}_bias']


def fill_set_encoder(encoder, parameters):
    linears = [m for m in (*encoder.hidden, encoder.lin_out) if hasattr(m, 'weight')]
    for number, linear in enumerate(linears, 1):
        fill(linear, parameters, f'linear_{number}')


@pytest.mark.parametrize(
    ('name', 'channels', 'rows'),
    [('encoder', (7, 8, 6), 'r'), ('task_encoder', (9, 6, 5), 'task_rows')],
)
def test_set_encoder(golden, name, channels, rows):
    case = golden(name)
    x, y = case['inputs']['x'], case['inputs']['y']
    encoder = SetEncoder(8, channels)
    fill_set_encoder(encoder, case['parameters'])
    alone, together = torch.arange(6), torch.zeros(6, dtype=torch.long)
    assert close(encoder(x, y, alone, 6), case['outputs'][rows])
    mean = encoder(x, y, together, 1).squeeze(0)
    assert close(mean, case['outputs']['mean_over_rows'])


def test_latent_distribution(golden, monkeypatch):
    case = golden('mu_sigma')
    latent = LatentEncoder(8, (6,), 7, 5)
    for linear, name in (
        (latent.lin_hidden, 'hidden'),
        (latent.lin_mu, 'mu'),
        (latent.lin_logvar, 'log_sigma'),
    ):
        fill(linear, case['parameters'], name)
    q = latent.distribution(case['inputs']['r'][None])
    assert close(q.mu[0], case['outputs']['mu'])
    assert close(q.logvar[0], case['outputs']['log_sigma'])
    noise = case['inputs']['eps_for_with_eps']
    monkeypatch.setattr(torch, 'randn_like', lambda tensor: noise.expand_as(tensor))
    assert close(q.sample()[0], case['outputs']['with_eps']['z'])


@pytest.mark.parametrize('number', range(4))
def test_memory(golden, number):
    case = golden('memory_unit')
    inputs, outputs = (
        case['inputs']['cases'][number],
        case['outputs']['cases'][number],
    )
    memory = ClusterMemory(5, 3, float(inputs['temperature']), squared=False)
    memory.center.data = case['parameters']['pool']
    task, assignment = memory(inputs['task'][None])
    assert close(assignment[0], outputs['C'])
    assert close(task[0], outputs['new_task'])


@pytest.mark.parametrize(
    ('modulation', 'maps'),
    [('film', ['gamma', 'beta']), ('gating', ['gamma', 'beta', 'eta', 'delta'])],
)
def test_decoder(golden, modulation, maps):
    case = golden(f'{modulation}_decoder')
    parameters, inputs = case['parameters'], case['inputs']
    decoder = ModulatedDecoder(8, 5, 5, (7, 6, 5), modulation, residual=False)
    for number, linear in enumerate(decoder.lins, 1):
        fill(linear, parameters, f'linear_{number}')
    fill(decoder.lin_out, parameters, 'final')
    decoder.lin_task.weight.data = torch.cat(
        [parameters[f'{name}_{layer}_weight'] for name in maps for layer in (1, 2, 3)]
    )
    index = torch.zeros(6, dtype=torch.long)
    score = decoder(inputs['x'], index, inputs['task'], inputs['z'][None])
    assert close(score, case['outputs']['predictions'])


def published_model(parameters):
    """TaNP with the published code's parameters, renamed."""
    model = TaNP(
        11,
        9,
        user_ids=True,
        embedding_channels=(6, 4),
        latent_channels=(7, 8, 6, 7, 5),
        task_channels=(9, 6, 5),
        num_clusters=3,
        squared_distance=False,
        decoder_channels=(7, 6, 5),
        residual_modulation=False,
        target='all',
        likelihood='gaussian',
    ).double()
    state = model.state_dict()
    for side in ('item', 'user'):
        rows = parameters[f'{side}_emb.first_embedding_layer.weight'].t()
        state[f'inputs.{side}.id_weight'] = torch.cat(
            [torch.zeros_like(rows[:1]), rows]
        )
        state[f'inputs.{side}.bias'] = parameters[
            f'{side}_emb.first_embedding_layer.bias'
        ]
    maps = [
        parameters[f'xz_to_y.film_layer_{layer}_{name}.weight']
        for name in ('gamma', 'beta')
        for layer in (1, 2, 3)
    ]
    state['decoder.lin_task.weight'] = torch.cat(maps)
    state['memory.center'] = parameters['memoryunit.array']
    renamed = {
        'inputs.item.lin': 'item_emb.second_embedding_layer',
        'inputs.user.lin': 'user_emb.second_embedding_layer',
        'latent.lin_hidden': 'z_to_mu_sigma.z_to_hidden',
        'latent.lin_mu': 'z_to_mu_sigma.hidden_to_mu',
        'latent.lin_logvar': 'z_to_mu_sigma.hidden_to_logsigma',
        'decoder.lin_out': 'xz_to_y.final_projection',
    }
    for ours, theirs in (
        ('latent.encoder', 'xy_to_z'),
        ('task_encoder', 'xy_to_task'),
    ):
        renamed[f'{ours}.hidden.0'] = f'{theirs}.input_to_hidden.0'
        renamed[f'{ours}.hidden.2'] = f'{theirs}.input_to_hidden.3'
        renamed[f'{ours}.lin_out'] = f'{theirs}.input_to_hidden.6'
    for layer in range(3):
        renamed[f'decoder.lins.{layer}'] = f'xz_to_y.hidden_layer_{layer + 1}'
    for ours, theirs in renamed.items():
        for kind in ('weight', 'bias'):
            state[f'{ours}.{kind}'] = parameters[f'{theirs}.{kind}']
    model.load_state_dict(state)
    return model


def padded(rows, fill=0.0):
    return torch.nn.utils.rnn.pad_sequence(rows, True, fill)


def batch_of(tasks):
    parts = []
    for name in ('context', 'query'):
        size = torch.tensor([len(task[f'{name}_y']) for task in tasks])
        parts += [
            padded([task[f'{name}_items'].long() for task in tasks]),
            padded([task[f'{name}_y'] for task in tasks], torch.nan),
            torch.arange(int(size.max())) < size[:, None],
        ]
    return EpisodeBatch(torch.stack([task['user'].long() for task in tasks]), *parts)


@pytest.mark.parametrize('name', MODELS)
def test_forward_in_evaluation(golden, name):
    case = golden(name)
    model = published_model(case['parameters']).eval()
    output = model(batch_of(case['inputs']['tasks']))
    for number, expected in enumerate(case['outputs']['eval']):
        score = output.score[output.rows.task == number]
        assert close(score, expected['predictions'])


@pytest.mark.parametrize('name', MODELS)
def test_forward_in_training(golden, name, monkeypatch):
    monkeypatch.setattr(torch, 'randn_like', torch.zeros_like)
    case = golden(name)
    model = published_model(case['parameters']).train()
    output = model(batch_of(case['inputs']['tasks']))
    for number, expected in enumerate(case['outputs']['train']):
        mine = output.rows.task == number
        assert close(output.score[mine], expected['predictions'])
        assert close(
            output.label[mine], case['inputs']['tasks'][number]['train_target_y']
        )
        assert close(output.assignment[number], expected['C'])
        for kind, gaussian in (
            ('target', output.posterior),
            ('context', output.prior),
        ):
            assert close(gaussian.mu[number], expected[f'mu_{kind}'])
            assert close(gaussian.logvar[number], expected[f'log_sigma_{kind}'])


def output_of(tasks):
    """The model output that a list of recorded tasks stands for."""
    size = torch.tensor([len(task['y_target']) for task in tasks])
    rows = rows_of(torch.arange(int(size.max())) < size[:, None])
    stacked = {
        name: torch.stack([t[name] for t in tasks])
        for name in tasks[0]
        if name not in ('predictions', 'y_target')
    }
    return TaskOutput(
        torch.cat([task['predictions'] for task in tasks]),
        torch.cat([task['y_target'] for task in tasks]),
        rows,
        Gaussian(stacked['mu_context'], stacked['log_sigma_context']),
        Gaussian(stacked['mu_target'], stacked['log_sigma_target']),
        stacked['C'],
    )


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('variant', ['as_coded', 'as_intended'])
def test_loss(golden, name, variant):
    case = golden('losses')
    output = output_of(case['inputs'][name]['tasks'])
    expected = case['outputs'][name]
    terms = tanp_loss(
        output,
        'gaussian',
        kl_per_point=False,
        uniform_clusters=variant == 'as_coded',
    )
    kl = kl_divergence(output.posterior, output.prior)
    assert close(kl, torch.stack([task['kl'] for task in expected['tasks']]))
    assert close(terms['kl'], kl.mean())
    mse = torch.stack([task['mse'] for task in expected['tasks']]).mean()
    assert close(terms['prediction'], mse)
    assert close(terms['prediction'] + terms['kl'], expected['mean_loss'])
    assert close(terms['clustering'], expected['clustering'][variant]['loss'])
    assert close(terms['loss'], expected[f'total_{variant}'])


def test_clustering(golden):
    case = golden('losses')
    assignment = case['inputs']['extra_C'].requires_grad_()
    for variant, target in (
        ('as_coded', torch.ones_like(assignment)),
        ('as_intended', target_distribution(assignment)),
    ):
        expected = case['outputs']['extra_C']['clustering'][variant]
        assert close(target, expected['targets'])
        loss = clustering_loss(assignment, target)
        assert close(loss, expected['loss'])
        (gradient,) = torch.autograd.grad(loss, assignment)
        held = expected.get('grad_C_targets_held_fixed', expected['grad_C'])
        assert close(gradient, held)
