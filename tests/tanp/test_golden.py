"""The formulas against the published code's own numbers, in double precision."""

import pytest
import torch

from tanp import EpisodeBatch, TaNP, TaskOutput, tanp_loss
from tanp.config import PUBLISHED, TaNPConfig
from tanp.loss import clustering_loss, kl_divergence
from tanp.nn import Gaussian

MODELS = ['np_forward', 'np_forward_wide']


def close(one, other):
    return torch.allclose(one, other, rtol=1e-9, atol=1e-9)


def published_model(parameters):
    """TaNP with the published code's parameters, renamed."""
    options = {k: PUBLISHED[k] for k in TaNPConfig.model_fields} | {
        'embedding_channels': (6, 4),
        'latent_channels': (7, 8, 6, 7, 5),
        'task_channels': (9, 6, 5),
        'num_clusters': 3,
        'decoder_channels': (7, 6, 5),
    }
    model = TaNP(11, 9, likelihood='gaussian', **options).double()
    state = model.state_dict()
    for side in ('item', 'user'):
        first = f'{side}_emb.first_embedding_layer'
        rows = parameters[f'{first}.weight'].t()
        state[f'{side}.id_weight'] = torch.cat([torch.zeros_like(rows[:1]), rows])
        state[f'{side}.bias'] = parameters[f'{first}.bias']
    maps = [
        parameters[f'xz_to_y.film_layer_{layer}_{name}.weight']
        for name in ('gamma', 'beta')
        for layer in (1, 2, 3)
    ]
    state['decoder.lin_task.weight'] = torch.cat(maps)
    state['memory.center'] = parameters['memoryunit.array']
    renamed = {'item.lin': 'item_emb.second_embedding_layer'}
    renamed |= {'user.lin': 'user_emb.second_embedding_layer'}
    renamed |= {'latent.lin_hidden': 'z_to_mu_sigma.z_to_hidden'}
    renamed |= {'latent.lin_mu': 'z_to_mu_sigma.hidden_to_mu'}
    renamed |= {'latent.lin_logvar': 'z_to_mu_sigma.hidden_to_logsigma'}
    renamed |= {'decoder.lin_out': 'xz_to_y.final_projection'}
    for ours, theirs in (('latent', 'xy_to_z'), ('task_encoder', 'xy_to_task')):
        renamed[f'{ours}.hidden.0'] = f'{theirs}.input_to_hidden.0'
        renamed[f'{ours}.hidden.3'] = f'{theirs}.input_to_hidden.3'
        renamed[f'{ours}.lin_out'] = f'{theirs}.input_to_hidden.6'
    for layer in range(3):
        renamed[f'decoder.lins.{layer}'] = f'xz_to_y.hidden_layer_{layer + 1}'
    for ours, theirs in renamed.items():
        for kind in ('weight', 'bias'):
            state[f'{ours}.{kind}'] = parameters[f'{theirs}.{kind}']
    model.load_state_dict(state)
    return model


def batch_of(tasks):
    parts = []
    pad = torch.nn.utils.rnn.pad_sequence
    for name in ('context', 'query'):
        size = torch.tensor([len(task[f'{name}_y']) for task in tasks])
        parts += [
            pad([task[f'{name}_items'].long() for task in tasks], True),
            pad([task[f'{name}_y'] for task in tasks], True, torch.nan),
            torch.arange(int(size.max())) < size[:, None],
        ]
    return EpisodeBatch(torch.stack([task['user'].long() for task in tasks]), *parts)


@pytest.mark.parametrize('name', MODELS)
def test_forward(golden, name, monkeypatch):
    monkeypatch.setattr(torch, 'randn_like', torch.zeros_like)
    case = golden(name)
    model, batch = (
        published_model(case['parameters']),
        batch_of(case['inputs']['tasks']),
    )
    output = model.eval()(batch)
    for number, expected in enumerate(case['outputs']['eval']):
        score = output.score[number][output.mask[number]]
        assert close(score, expected['predictions'])
    output = model.train()(batch)
    for number, expected in enumerate(case['outputs']['train']):
        mask = output.mask[number]
        label = case['inputs']['tasks'][number]['train_target_y']
        assert close(output.score[number][mask], expected['predictions'])
        assert close(output.label[number][mask], label)
        assert close(output.assignment[number], expected['C'])
        for kind, q in (('target', output.posterior), ('context', output.prior)):
            assert close(q.mu[number], expected[f'mu_{kind}'])
            assert close(q.logvar[number], expected[f'log_sigma_{kind}'])


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('variant', ['as_coded', 'as_intended'])
def test_loss(golden, name, variant):
    case = golden('losses')
    tasks, expected = case['inputs'][name]['tasks'], case['outputs'][name]
    score, label = (
        torch.nn.utils.rnn.pad_sequence([task[key] for task in tasks], True, torch.nan)
        for key in ('predictions', 'y_target')
    )
    parts = {
        key: torch.stack([task[key] for task in tasks])
        for key in tasks[0]
        if key not in ('predictions', 'y_target')
    }
    prior, posterior = (
        Gaussian(parts[f'mu_{kind}'], parts[f'log_sigma_{kind}'])
        for kind in ('context', 'target')
    )
    mask = ~label.isnan()
    output = TaskOutput(score, label, mask, prior, posterior, parts['C'])
    options = {'published_cluster_target': variant == 'as_coded'}
    terms = tanp_loss(output, 'gaussian', kl_per_point=False, **options)
    kl = kl_divergence(posterior, prior)
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
    for variant, published in (('as_coded', True), ('as_intended', False)):
        expected = case['outputs']['extra_C']['clustering'][variant]
        loss = clustering_loss(assignment, published)
        assert close(loss, expected['loss'])
        (gradient,) = torch.autograd.grad(loss, assignment)
        held = expected.get('grad_C_targets_held_fixed', expected['grad_C'])
        assert close(gradient, held)
