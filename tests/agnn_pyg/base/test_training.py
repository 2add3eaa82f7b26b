"""The driver, with a small module of Lightning that knows nothing of recommendation."""

from itertools import chain
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader, TensorDataset

from agnn_pyg.base.callbacks import EpochSeed, epoch_seed
from agnn_pyg.base.randomness import EpochLoader, own_random_numbers
from agnn_pyg.base.training import FitResult, fit

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(120, 4, generator=GENERATOR)
Y = X @ torch.tensor([1.0, -2.0, 0.5, 0.0]) + torch.randn(120, generator=GENERATOR)


class Regression(pl.LightningModule):
    """Linear regression with dropout."""

    def __init__(self, seed=0, lr=0.02, init=0, optimizer=torch.optim.Adam):
        super().__init__()
        torch.manual_seed(init)
        self.net = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(4, 1))
        self.seed, self.lr, self.optimizer = seed, lr, optimizer
        self.seen, self.validated = [], []
        self.cut, self.error = None, RuntimeError('power cut')

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.seen.append((self.current_epoch, y.tolist()))
        if self.cut == (self.current_epoch, batch_idx):
            raise self.error
        loss = (self.net(x).squeeze(-1) - y).square().mean()
        options = {'batch_size': len(y), 'sync_dist': True}
        self.log('train_loss', loss, on_step=False, on_epoch=True, **options)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        error = (self.net(x).squeeze(-1) - y).square().mean()
        self.log('val_rmse', error.sqrt(), batch_size=len(y))
        self.log('val_ndcg@3', -error, batch_size=len(y))

    def configure_optimizers(self):
        return self.optimizer(self.parameters(), lr=self.lr)


class Seeded(EpochLoader):
    """A loader whose order is a function of the epoch."""

    def __init__(self, x, y, batch_size=20):
        self.x, self.y, self.batch_size = x, y, batch_size

    def __len__(self):
        return -(-len(self.y) // self.batch_size) // self.world_size

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.epoch)
        batches = torch.randperm(len(self.y), generator=generator).split(20)
        for rows in batches[self.rank : len(self) * self.world_size : self.world_size]:
            yield self.x[rows], self.y[rows]


def plain(size=100):
    return DataLoader(TensorDataset(X[:size], Y[:size]), batch_size=20, shuffle=True)


def loaders(kind='seeded', size=100):
    train = Seeded(X[:size], Y[:size]) if kind == 'seeded' else plain(size)
    return train, DataLoader(TensorDataset(X[100:], Y[100:]), batch_size=20)


def spoilt(kind='seeded'):
    """Loaders on whose validation the first epochs are the best."""
    train, _ = loaders(kind)
    return train, DataLoader(TensorDataset(X[100:], -Y[100:]), batch_size=20)


def assert_same_weights(one, other):
    one, other = (x if isinstance(x, dict) else x.state_dict() for x in (one, other))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def load(folder, name):
    return torch.load(folder / 'checkpoints' / f'{name}.ckpt', weights_only=True)


@pytest.mark.parametrize(('monitor', 'of'), [('val_rmse', min), ('val_ndcg@3', max)])
def test_history_and_the_best_weights(tmp_path, monitor, of):
    module = Regression(lr=0.3)  # so large that validation gets worse again
    result = fit(module, *loaders(), epochs=6, folder=tmp_path, monitor=monitor)
    assert isinstance(result, FitResult)
    assert [epoch['epoch'] for epoch in result.history] == list(range(6))
    assert {'train_loss', 'val_rmse', 'val_ndcg@3'} <= set(result.history[0])
    values = [epoch[monitor] for epoch in result.history]
    assert result.best_epoch == values.index(of(values))
    best, last = load(tmp_path, 'best'), load(tmp_path, 'last')
    assert best['epoch'] == result.best_epoch
    assert last['epoch'] == 5
    assert_same_weights(module, best['state_dict'])
    assert list((tmp_path / 'logs').glob('events.out.tfevents*'))
    names = sorted(path.name for path in (tmp_path / 'checkpoints').iterdir())
    assert names == ['best.ckpt', 'last.ckpt']


@pytest.mark.parametrize('kind', ['seeded', 'plain'])
def test_the_seed_and_the_epoch_and_nothing_else_decide(kind, here):
    modules = [Regression() for _ in range(3)]
    modules[2].seed = 1
    for module in modules:
        torch.rand(7)  # earlier draws do not matter
        fit(module, *loaders(kind), epochs=3)
    assert_same_weights(*modules[:2])
    assert not torch.equal(modules[0].net[1].weight, modules[2].net[1].weight)
    assert list(here.iterdir()) == []  # without a folder
    seen = modules[0].seen
    epochs = [[y for e, y in seen if e == epoch] for epoch in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    for batches in epochs:
        assert sorted(chain.from_iterable(batches)) == sorted(Y[:100].tolist())
    if kind == 'seeded':
        train = loaders()[0]
        train.set_epoch(2)
        assert epochs[2] == [y.tolist() for _, y in train]


def test_cuda_in_use_is_seeded_and_left_as_it_was(monkeypatch):
    trainer = SimpleNamespace(current_epoch=2, global_rank=1)
    found = []
    fakes = {'is_initialized': lambda: True, 'device_count': lambda: 2}
    fakes |= {'get_rng_state': str, 'set_rng_state': lambda *args: found.append(args)}
    fakes |= {'manual_seed': found.append, 'manual_seed_all': None}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    with own_random_numbers():
        for kind in ('cpu', 'cuda'):
            trainer.strategy = SimpleNamespace(root_device=torch.device(kind))
            EpochSeed().on_train_epoch_start(trainer, Regression)
            assert torch.initial_seed() % 2**64 == epoch_seed(Regression, 2, 1) % 2**64
    assert found == [epoch_seed(Regression, 2, 1), ('0', 0), ('1', 1)]


@pytest.mark.parametrize('kind', ['seeded', 'plain'])
@pytest.mark.parametrize(('epoch', 'data'), [(1, loaders), (3, spoilt)])
@pytest.mark.parametrize('options', [{}, {'ema_decay': 0.9}])
def test_an_interrupted_run_resumes_to_identical_results(
    kind, epoch, data, options, tmp_path
):
    """In a folder that was moved, with the best epoch after or before that."""
    options = {'epochs': 5, **options}
    whole, broken = Regression(), Regression()
    expected = fit(whole, *data(kind), folder=tmp_path / 'whole', **options)
    assert (expected.best_epoch < epoch) == (data is spoilt)
    broken.cut = epoch, 2
    if kind == 'plain':  # which Lightning answers by an exit of the process
        broken.error = KeyboardInterrupt()
    with pytest.raises(type(broken.error)):
        fit(broken, *data(kind), folder=tmp_path / 'cut', **options)
    (tmp_path / 'cut').rename(tmp_path / 'moved')
    # Other initial weights: all that counts is in the checkpoint.
    resumed = Regression(init=9)
    options |= {'folder': tmp_path / 'moved', 'resume': True}
    for _ in range(2):  # A finished run stays as it is.
        assert fit(resumed, *data(kind), **options) == expected
        assert_same_weights(resumed, whole)


@pytest.mark.parametrize('ema_decay', [None, 0.9])
def test_early_stopping_and_what_a_resumed_run_makes_of_it(tmp_path, ema_decay):
    options = {'epochs': 12, 'ema_decay': ema_decay, 'folder': tmp_path}
    one, other = Regression(lr=0.1), Regression(lr=0.1, init=5)
    expected = fit(one, *spoilt(), patience=2, **options)
    assert len(expected.history) < 12
    assert expected.best_epoch == len(expected.history) - 3
    assert fit(other, *spoilt(), patience=2, resume=True, **options) == expected
    assert_same_weights(one, other)


def test_gradients_are_clipped():
    weights = []
    for clip in (None, 1e-3):
        module = Regression(optimizer=torch.optim.SGD, lr=1.0)
        before = parameters_to_vector(module.parameters()).detach()
        fit(module, loaders()[0], epochs=1, gradient_clip=clip)
        weights.append(parameters_to_vector(module.parameters()).detach() - before)
    assert weights[0].norm() > 0.1
    assert weights[1].norm() <= 5e-3 + 1e-6  # five steps


def test_stop_after_runs_the_start_of_a_longer_schedule():
    module = Regression()
    part = fit(module, loaders()[0], epochs=4, stop_after=2)
    assert module.schedule_steps == 20
    assert part.history == fit(Regression(), loaders()[0], epochs=4).history[:2]
    fit(module, loaders()[0], epochs=4, accumulate_grad_batches=2)
    assert module.schedule_steps == 12


@pytest.mark.parametrize('ema_decay', [None, 0.9])
def test_without_validation_the_last_weights_stay(tmp_path, ema_decay):
    module = Regression()
    options = {'ema_decay': ema_decay, 'folder': tmp_path}
    result = fit(module, loaders()[0], epochs=3, **options)
    assert (result.best_epoch, len(result.history)) == (2, 3)
    assert_same_weights(module, load(tmp_path, 'last')['state_dict'])
    again = Regression(init=9)
    assert fit(again, loaders()[0], epochs=3, resume=True, **options) == result
    assert_same_weights(again, module)


def test_the_moving_average_against_a_loop():
    path = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, module, *args):
            path.append(parameters_to_vector(module.parameters()).detach())

    plain, averaged = Regression(), Regression()
    one = fit(plain, loaders()[0], epochs=3)
    options = {'ema_decay': 0.7, 'callbacks': [Watch()]}
    other = fit(averaged, loaders()[0], epochs=3, **options)
    assert one.history == other.history  # the run itself is the same
    # The first update takes the weights as they are.
    expected = path[0]
    for weights in path[1:]:
        expected = 0.7 * expected + 0.3 * weights
    found = parameters_to_vector(averaged.parameters())
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize('validated', [False, True])
def test_a_run_that_diverges_is_refused(validated, tmp_path):
    # Steps of gradient descent that grow without bounds.
    module = Regression(optimizer=torch.optim.SGD, lr=1e9)
    parts = loaders() if validated else loaders()[:1]
    with pytest.raises(ValueError, match=r'epoch \d.*lr'):
        fit(module, *parts, epochs=4, folder=tmp_path)
    module.training_step = lambda *args: torch.linalg.cholesky(-torch.eye(2))
    with pytest.raises(ValueError, match='lr'):
        fit(module, *parts, epochs=4)


def test_a_monitored_value_that_is_missing_or_not_a_number_is_named():
    with pytest.raises(ValueError, match=r"'val_auc'.*val_rmse"):
        fit(Regression(), *loaders(), epochs=1, monitor='val_auc')

    class Undefined(Regression):
        def validation_step(self, batch, batch_idx):
            self.log('val_auc', torch.tensor(torch.nan))

    with pytest.raises(ValueError, match=r"epoch 0.*'val_auc' is nan"):
        fit(Undefined(), *loaders(), epochs=1, monitor='val_auc')


def test_arguments_that_do_not_suit_are_named():
    for options, match in [
        ({'epochs': 0}, "'epochs'.*0"),
        ({'stop_after': 0}, "'stop_after'.*0"),
        ({'epochs': 2, 'stop_after': 3}, "'stop_after'.*2.*3"),
        ({'patience': 0}, "'patience'.*0"),
        ({'patience': 2}, "'patience' needs 'validation'"),
        ({'resume': True}, "'resume' needs the 'folder'"),
        ({'ema_decay': 3.0}, "'ema_decay'.*3.0"),
        ({'folder': __file__}, "'folder' must be .*test_training.py"),
        ({'folder': f'{__file__}/x'}, "'folder' must be .*test_training.py/x"),
        ({'folder': 7}, "'folder' must be .*7"),
    ]:
        with pytest.raises(ValueError, match=match):
            fit(Regression(), loaders()[0], **{'epochs': 1} | options)
