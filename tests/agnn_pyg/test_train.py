import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.nn.utils import parameters_to_vector

pytest.importorskip('pytorch_lightning')

from agnn_pyg.base.callbacks import MovingAverage
from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.graph.build import rating_graph
from agnn_pyg.inference import predict
from agnn_pyg.model import AGNN
from agnn_pyg.sampling.link_loader import LinkRatingLoader
from agnn_pyg.sampling.loader import RatingLoader
from agnn_pyg.train import FitResult, RatingModule, fit
from data.synthetic import planted_tables

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def planted():
    """A graph whose ratings follow from attributes, and held-out pairs."""
    tables = planted_tables(30, 40, density=0.4)
    index = torch.stack([torch.from_numpy(part) for part in tables.positions()])
    rating = torch.tensor(tables.ratings['rating'].to_numpy(), dtype=torch.float)
    users, items = (
        AttributeEncoder(list(frame.columns[1:])).fit_transform(frame)
        for frame in (tables.users, tables.items)
    )
    train = slice(0, 360)
    graph = rating_graph(users, items, index[:, train], rating[train], pool=0.2)
    return graph, index, rating


@pytest.fixture
def loaders(planted):
    """Training and validation batches."""
    graph, index, rating = planted
    options = {'batch_size': 90, 'num_neighbors': 3}
    return (
        RatingLoader(
            graph,
            index[:, :360],
            rating[:360],
            shuffle=True,
            cold_rate=(0.2, 0.2),
            **options,
        ),
        RatingLoader(graph, index[:, 360:], rating[360:], **options),
    )


@pytest.fixture
def new_module(planted):
    """Makes a module; its first weights follow the seed."""
    graph, _, rating = planted

    def make(seed=0, **kwargs):
        torch.manual_seed(seed)
        tokens = [int(graph[side].attr.max()) + 1 for side in ('user', 'item')]
        model = AGNN(
            30,
            40,
            *tokens,
            channels=6,
            hidden_channels=6,
            mean=float(rating.mean()),
            dropout=0.1,
        )
        return RatingModule(model, **kwargs)

    return make


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def differ(one, other):
    return any(not torch.equal(value, other[name]) for name, value in one.items())


def load(folder, name):
    return torch.load(folder / 'checkpoints' / f'{name}.ckpt', weights_only=True)


def spoil(module, epoch):
    """Makes a module raise in the middle of an epoch."""
    step = module.training_step

    def failing(batch, batch_idx):
        if module.current_epoch == epoch and batch_idx == 1:
            raise RuntimeError('power cut')
        return step(batch, batch_idx)

    module.training_step = failing
    return module


def test_a_fit_beats_the_constant_predictor(new_module, loaders):
    module = new_module(rating_range=(1, 5))
    train, validation = loaders
    result = fit(module, train, validation, epochs=25, ema_decay=0.9)
    constant = (validation.rating - train.rating.mean()).square().mean().sqrt().item()
    best = min(epoch['val_rmse'] for epoch in result.history)
    assert best < 0.8 * constant
    predicted = predict(module.model, validation, rating_range=(1, 5))
    rmse = (predicted - validation.rating).square().mean().sqrt().item()
    assert rmse < 0.8 * constant


def test_history_holds_every_epoch(new_module, loaders):
    result = fit(new_module(), *loaders, epochs=4)
    assert isinstance(result, FitResult)
    assert [epoch['epoch'] for epoch in result.history] == [0, 1, 2, 3]
    assert {'train_loss', 'train_mse', 'val_rmse', 'val_mae'} <= set(result.history[0])
    assert not result.stopped_early
    rmse = [epoch['val_rmse'] for epoch in result.history]
    assert result.best_epoch == rmse.index(min(rmse))


def test_the_same_seed_gives_the_same_digits(new_module, loaders):
    one, same, other = new_module(), new_module(), new_module(**{'seed': 0}, lr=3e-3)
    histories = [fit(module, *loaders, epochs=3).history for module in (one, same)]
    assert histories[0] == histories[1]
    assert_same_weights(one.state_dict(), same.state_dict())
    # The seed of the module is that of dropout and latent noise.
    other.seed = 1
    fit(other, *loaders, epochs=3)
    assert differ(one.state_dict(), other.state_dict())


def test_what_was_drawn_before_does_not_matter(new_module, loaders):
    one, other = new_module(), new_module()
    fit(one, *loaders, epochs=2)
    torch.manual_seed(99)
    torch.rand(17)
    fit(other, *loaders, epochs=2)
    assert_same_weights(one.state_dict(), other.state_dict())


def test_the_best_weights_are_left_in_the_module(new_module, loaders, tmp_path):
    # Steps so large that validation gets worse again.
    module = new_module(lr=0.3, free_lr=1.0)
    result = fit(module, *loaders, epochs=6, ema_decay=None, folder=tmp_path)
    best = load(tmp_path, 'best')
    assert result.best_epoch == best['epoch']
    assert_same_weights(module.state_dict(), best['state_dict'])
    rmse = [epoch['val_rmse'] for epoch in result.history]
    assert rmse[result.best_epoch] == min(rmse)
    predicted = predict(module.model, loaders[1], draws=1)
    again = (predicted - loaders[1].rating).square().mean().sqrt().item()
    assert again == pytest.approx(min(rmse), rel=1e-4)


@pytest.mark.parametrize('ema_decay', [None, 0.9])
@pytest.mark.parametrize('epoch', [1, 3])
def test_a_run_that_broke_off_resumes_to_the_last_digit(
    new_module, loaders, tmp_path, ema_decay, epoch
):
    options = {'epochs': 5, 'ema_decay': ema_decay}
    whole = new_module()
    expected = fit(whole, *loaders, folder=tmp_path / 'whole', **options)
    broken = spoil(new_module(), epoch)
    with pytest.raises(RuntimeError, match='power cut'):
        fit(broken, *loaders, folder=tmp_path / 'broken', **options)
    # Other first weights: all that counts is in the checkpoint.
    resumed = new_module(seed=9)
    actual = fit(resumed, *loaders, folder=tmp_path / 'broken', resume=True, **options)
    assert actual == expected
    assert_same_weights(resumed.state_dict(), whole.state_dict())
    last, other = (load(tmp_path / name, 'last') for name in ('whole', 'broken'))
    assert_same_weights(last['state_dict'], other['state_dict'])


def test_the_last_checkpoint_is_of_the_last_epoch(new_module, loaders, tmp_path):
    train, validation = loaders
    # Against such ratings the first epoch is the best.
    spoilt = RatingLoader(validation.graph, validation.index, 6 - validation.rating)
    result = fit(new_module(), train, spoilt, epochs=4, folder=tmp_path)
    assert result.best_epoch < 3
    assert load(tmp_path, 'best')['epoch'] == result.best_epoch
    assert load(tmp_path, 'last')['epoch'] == 3


def test_a_run_that_broke_off_past_its_best_epoch_resumes(
    new_module, loaders, tmp_path
):
    train, validation = loaders
    spoilt = RatingLoader(validation.graph, validation.index, 6 - validation.rating)
    options = {'epochs': 8, 'patience': 4}
    whole, resumed = new_module(), new_module(seed=9)
    expected = fit(whole, train, spoilt, **options)
    assert expected.stopped_early
    options['folder'] = tmp_path
    with pytest.raises(RuntimeError, match='power cut'):
        fit(spoil(new_module(), expected.best_epoch + 2), train, spoilt, **options)
    assert fit(resumed, train, spoilt, resume=True, **options) == expected
    assert_same_weights(resumed.state_dict(), whole.state_dict())


def test_the_module_that_broke_off_may_go_on_itself(new_module, loaders, tmp_path):
    expected = fit(new_module(), *loaders, epochs=3)
    module = new_module()
    step = module.training_step
    with pytest.raises(RuntimeError, match='power cut'):
        fit(spoil(module, 2), *loaders, epochs=3, folder=tmp_path)
    module.training_step = step
    actual = fit(module, *loaders, epochs=3, folder=tmp_path, resume=True)
    assert actual == expected


def test_resuming_nothing_starts_anew(new_module, loaders, tmp_path):
    one, other = new_module(), new_module()
    expected = fit(one, *loaders, epochs=2)
    actual = fit(other, *loaders, epochs=2, folder=tmp_path, resume=True)
    assert actual == expected
    assert_same_weights(one.state_dict(), other.state_dict())


def test_resuming_a_finished_run_changes_nothing(new_module, loaders, tmp_path):
    one, other = new_module(), new_module(seed=5)
    expected = fit(one, *loaders, epochs=3, folder=tmp_path)
    actual = fit(other, *loaders, epochs=3, folder=tmp_path, resume=True)
    assert actual == expected
    assert_same_weights(one.state_dict(), other.state_dict())


@pytest.mark.parametrize('ema_decay', [None, 0.9])
def test_resuming_a_run_that_stopped_early_changes_nothing(
    new_module, loaders, tmp_path, ema_decay
):
    train, validation = loaders
    spoilt = RatingLoader(validation.graph, validation.index, 6 - validation.rating)
    options = {'epochs': 12, 'ema_decay': ema_decay, 'folder': tmp_path}
    one, other = new_module(), new_module(seed=5)
    expected = fit(one, train, spoilt, patience=2, **options)
    assert expected.stopped_early
    logs = (tmp_path / 'logs' / 'metrics.csv').read_text()
    actual = fit(other, train, spoilt, patience=2, resume=True, **options)
    assert actual == expected
    assert_same_weights(one.state_dict(), other.state_dict())
    assert (tmp_path / 'logs' / 'metrics.csv').read_text() == logs

    # With more patience it goes on, as one that had it from the start.
    more = fit(new_module(), train, spoilt, patience=4, resume=True, **options)
    options['folder'] = tmp_path / 'patient'
    assert more == fit(new_module(), train, spoilt, patience=4, **options)
    assert len(more.history) > len(expected.history)


KILLED = """
import sys, time
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
setup = torch.load({setup!r}, weights_only=False)
from agnn_pyg.train import RatingModule, fit
module = RatingModule(setup['model'])
step = module.training_step
def slow(batch, batch_idx):
    time.sleep(0.05)
    return step(batch, batch_idx)
module.training_step = slow
fit(module, *setup['loaders'], epochs=8, folder={folder!r})
"""


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_last_digit(new_module, loaders, tmp_path):
    folder = tmp_path / 'killed'
    setup = {'model': new_module().model, 'loaders': loaders}
    torch.save(setup, tmp_path / 'setup.pt')
    code = KILLED.format(
        root=str(ROOT), setup=str(tmp_path / 'setup.pt'), folder=str(folder)
    )
    process = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT)
    last, deadline = folder / 'checkpoints' / 'last.ckpt', time.monotonic() + 90
    written = set()
    try:
        while len(written) < 3 and process.poll() is None:
            assert time.monotonic() < deadline
            if last.exists():
                written.add(os.stat(last).st_mtime_ns)
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL

    whole, resumed = new_module(), new_module(seed=9)
    expected = fit(whole, *loaders, epochs=8)
    actual = fit(resumed, *loaders, epochs=8, folder=folder, resume=True)
    assert actual == expected
    assert_same_weights(resumed.state_dict(), whole.state_dict())


def test_checkpoints_load_without_pickled_code(new_module, loaders, tmp_path):
    fit(new_module(), *loaders, epochs=2, folder=tmp_path)
    for name in ('best', 'last'):
        assert {'state_dict', 'epoch', 'optimizer_states'} <= set(load(tmp_path, name))
    other = new_module(seed=3)
    other.load_state_dict(load(tmp_path, 'best')['state_dict'])


def test_validation_ratings_do_not_change_training(new_module, loaders, tmp_path):
    train, validation = loaders
    spoilt = RatingLoader(
        validation.graph, validation.index, 6 - validation.rating, num_neighbors=3
    )
    histories = []
    for name, loader in (('one', validation), ('other', spoilt), ('none', None)):
        result = fit(new_module(), train, loader, epochs=3, folder=tmp_path / name)
        histories.append(
            [
                {k: v for k, v in epoch.items() if k.startswith('train_')}
                for epoch in result.history
            ]
        )
    assert histories[0] == histories[1] == histories[2]
    one = load(tmp_path / 'one', 'last')['state_dict']
    for name in ('other', 'none'):
        assert_same_weights(one, load(tmp_path / name, 'last')['state_dict'])


def test_logs_are_written(new_module, loaders, tmp_path):
    result = fit(new_module(), *loaders, epochs=3, folder=tmp_path)
    assert logged(tmp_path) == pytest.approx([e['val_rmse'] for e in result.history])
    assert list((tmp_path / 'logs').glob('events.out.tfevents*'))


def logged(folder):
    """The validation errors in the CSV log."""
    with open(folder / 'logs' / 'metrics.csv', newline='') as file:
        return [
            float(row['val_rmse']) for row in csv.DictReader(file) if row['val_rmse']
        ]


def test_logs_of_a_resumed_run_hold_every_epoch(new_module, loaders, tmp_path):
    with pytest.raises(RuntimeError, match='power cut'):
        fit(spoil(new_module(), 2), *loaders, epochs=4, folder=tmp_path)
    result = fit(new_module(), *loaders, epochs=4, folder=tmp_path, resume=True)
    assert logged(tmp_path) == pytest.approx([e['val_rmse'] for e in result.history])


def test_nothing_is_written_without_a_folder(
    new_module, loaders, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    fit(new_module(), *loaders, epochs=1)
    assert list(tmp_path.iterdir()) == []


def test_gradients_are_clipped(new_module, loaders):
    norms = []
    for clip in (None, 1e-3):
        module = new_module()
        norms.append(watch_gradients(module))
        fit(module, *loaders, epochs=1, gradient_clip=clip)
    free, clipped = norms
    assert len(free) == len(clipped) == 3
    assert min(free) > 1e-2
    assert max(clipped) == pytest.approx(1e-3, rel=1e-2)


def watch_gradients(module):
    """Collects the norm that each step used, as the next one begins."""
    norms = []

    def hook(optimizer):
        grads = [p.grad.norm() for p in module.parameters() if p.grad is not None]
        if grads:
            norms.append(torch.stack(grads).norm().item())

    module.on_before_zero_grad = hook
    return norms


def test_patience_stops_a_run_that_does_not_improve(new_module, loaders):
    # Nothing moves, so no epoch is better than the first.
    module = new_module(lr=0.0, free_lr=0.0, weight_decay=0.0)
    result = fit(module, *loaders, epochs=9, patience=2)
    assert result.stopped_early
    assert len(result.history) == 3
    assert result.best_epoch == 0


def test_stop_after_runs_the_start_of_a_longer_schedule(new_module, loaders):
    train, _ = loaders
    whole = fit(new_module(), train, epochs=4)
    part = fit(new_module(), train, epochs=4, stop_after=2)
    short = fit(new_module(), train, epochs=2)
    assert part.history == whole.history[:2]
    assert part.history != short.history
    assert not part.stopped_early


@pytest.mark.parametrize('ema_decay', [None, 0.9])
def test_without_validation_the_last_weights_stay(
    new_module, loaders, tmp_path, ema_decay
):
    module = new_module()
    result = fit(module, loaders[0], epochs=3, ema_decay=ema_decay, folder=tmp_path)
    assert result.best_epoch == 2
    assert len(result.history) == 3
    assert_same_weights(module.state_dict(), load(tmp_path, 'last')['state_dict'])


def test_the_moving_average_is_what_is_kept(new_module, loaders):
    plain, averaged = new_module(), new_module()
    one = fit(plain, loaders[0], epochs=3, ema_decay=None)
    other = fit(averaged, loaders[0], epochs=3, ema_decay=0.9)
    assert differ(plain.state_dict(), averaged.state_dict())
    assert one.history == other.history


@pytest.mark.parametrize(
    ('precision', 'dtype'),
    [('64-true', torch.double), ('bf16-true', torch.bfloat16)],
)
def test_the_moving_average_is_of_the_precision_of_the_module(
    new_module, loaders, precision, dtype
):
    module = new_module()
    result = fit(module, *loaders, epochs=3, ema_decay=0.9, precision=precision)
    assert {p.dtype for p in module.parameters()} == {dtype}
    assert result.history[-1]['val_rmse'] < result.history[0]['val_rmse']


def test_the_average_of_a_short_run_has_left_where_it_began(new_module, loaders):
    """However slow it would be, in a long one."""
    weights = []
    for decay in (None, 0.999):
        module = new_module()
        start = parameters_to_vector(module.model.parameters()).detach()
        fit(module, loaders[0], epochs=10, ema_decay=decay)
        weights.append(parameters_to_vector(module.model.parameters()).detach())
    final, averaged = weights
    assert 0 < (averaged - final).norm() < 0.5 * (final - start).norm()


def test_either_loader_trains_to_the_same_error(new_module, planted, loaders):
    graph, index, rating = planted
    options = {'batch_size': 90, 'num_neighbors': 3}
    train = LinkRatingLoader(
        graph, index[:, :360], rating[:360], shuffle=True, cold_rate=(0, 0.2), **options
    )
    validation = LinkRatingLoader(graph, index[:, 360:], rating[360:], **options)
    result = fit(new_module(), train, validation, epochs=2)
    same = fit(new_module(), train, loaders[1], epochs=2)
    assert result.history == same.history
    assert [epoch['epoch'] for epoch in result.history] == [0, 1]


def test_every_epoch_has_its_own_batches(new_module, loaders):
    train, _ = loaders
    seen = []
    module = new_module()
    step = module.training_step

    def watching(batch, batch_idx):
        seen.append((module.current_epoch, batch.edge_label.tolist()))
        return step(batch, batch_idx)

    module.training_step = watching
    fit(module, train, epochs=3)
    expected = []
    for epoch in range(3):
        train.set_epoch(epoch)
        expected += [(epoch, batch.edge_label.tolist()) for batch in train]
    assert seen == expected


def test_weight_decay_covers_matrices_only(new_module):
    module = new_module(weight_decay=0.5, free_lr=0.7, lr=0.1)
    optimizer = module.configure_optimizers()['optimizer']
    free, matrices, vectors = optimizer.param_groups
    assert {id(p) for p in free['params']} == {
        id(module.model.user.free),
        id(module.model.item.free),
    }
    assert (free['initial_lr'], free['weight_decay']) == (0.7, 0)
    assert (matrices['initial_lr'], matrices['weight_decay']) == (0.1, 0.5)
    assert all(p.dim() == 2 for p in matrices['params'])
    assert (vectors['initial_lr'], vectors['weight_decay']) == (0.1, 0)
    assert all(p.dim() < 2 for p in vectors['params'])
    count = sum(len(group['params']) for group in optimizer.param_groups)
    assert count == len(list(module.model.parameters()))


@pytest.mark.parametrize('device', ['cuda'], indirect=True)
@pytest.mark.cuda
def test_a_fit_on_the_device(new_module, loaders, device):
    module = new_module()
    result = fit(module, *loaders, epochs=2, accelerator='gpu')
    assert len(result.history) == 2


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        ({'epochs': 0}, r"'epochs' must be at least 1 \(got 0\)"),
        ({'stop_after': 0}, r"'stop_after' must be at least 1 \(got 0\)"),
        ({'epochs': 2, 'stop_after': 3}, r"must not exceed 'epochs' \(2, got 3\)"),
        ({'patience': 0}, r"'patience' must be at least 1 \(got 0\)"),
        ({'patience': 2}, "'patience' needs 'validation'"),
        ({'resume': True}, "'resume' needs the 'folder'"),
        ({'ema_decay': 3.0}, r"'ema_decay' must be a share in \[0, 1\] .got 3.0"),
    ],
)
def test_bad_input(new_module, loaders, kwargs, match):
    with pytest.raises(ValueError, match=match):
        fit(new_module(), loaders[0], **kwargs)


def test_users_of_the_engine_may_add_callbacks_and_options(new_module, loaders):
    import pytorch_lightning as pl

    class Count(pl.Callback):
        epochs = 0

        def on_train_epoch_end(self, trainer, module):
            self.epochs += 1

    count = Count()
    fit(new_module(), *loaders, epochs=2, callbacks=[count], precision='32-true')
    assert count.epochs == 2


def test_loaders_without_ratings_are_named(new_module, loaders):
    train, validation = loaders
    bare = RatingLoader(train.graph, train.index)
    with pytest.raises(ValueError, match="'train' has no ratings"):
        fit(new_module(), bare)
    bare = RatingLoader(validation.graph, validation.index)
    with pytest.raises(ValueError, match="'validation' has no ratings"):
        fit(new_module(), train, bare)


def test_checkpoints_are_written_in_their_own_folder(
    new_module, loaders, tmp_path, monkeypatch
):
    def refuse(*arguments, **options):
        raise AssertionError('another file system, perhaps')

    monkeypatch.setattr('tempfile.mkstemp', refuse)
    fit(new_module(), *loaders, epochs=1, folder=tmp_path)
    files = sorted(p.name for p in (tmp_path / 'checkpoints').iterdir())
    assert files == ['best.ckpt', 'last.ckpt']


def test_an_average_may_watch_a_validation_of_half_a_precision():
    """There is none before a fit, so that nothing is to be converted."""
    import pytorch_lightning as pl

    average = MovingAverage(0.9)
    trainer = pl.Trainer(accelerator='cpu', precision='bf16-true', logger=False)
    average.setup(trainer, torch.nn.Identity(), 'validate')
