"""Counter-based random numbers: hashes of a seed and of what they are drawn for.

A number depends on its key and its counter alone, so it is the same in any batch, on
any device and in any worker process.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from agnn_pyg.base.config import Seed, check_argument

T = TypeVar('T', Tensor, np.ndarray)

# The constants of SplitMix64 (Steele et al., 2014), as signed 64-bit numbers.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64

_TURN = threading.RLock()


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Leaves PyTorch's random numbers as they were; also decorates functions.

    They are those of the CPU and, where CUDA is in use, of its devices. A process has
    one stream of each, so that threads take turns. ``torch.manual_seed`` would also
    seed a CUDA that is not in use yet: seed ``torch.default_generator`` instead.
    """
    cuda = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
    with _TURN, torch.random.fork_rng([*range(cuda)], device_type='cuda'):
        yield


def uniform(counter: Tensor, key: int) -> Tensor:
    """Uniform numbers in (0, 1), a hash of each counter under a key."""
    return (random_bits(counter, key).double() + 0.5) / 2**53


def random_bits(counter: T, key: int | T) -> T:
    """53 random bits for each counter, of a tensor or a NumPy array of ``int64``."""
    state = counter * _GAMMA + key
    state = (state ^ _shift(state, 30)) * _MIX_1
    state = (state ^ _shift(state, 27)) * _MIX_2
    return _shift(state ^ _shift(state, 31), 11)


def mix(number: int) -> int:
    """Scrambles a number, so that seeds 0, 1, 2 are far apart."""
    # Python's integers: a tensor for a single number would cost more than its use.
    state = (int(number) * _GAMMA + _GAMMA) % 2**64
    state = (state ^ state >> 30) * _MIX_1 % 2**64
    state = (state ^ state >> 27) * _MIX_2 % 2**64
    state ^= state >> 31
    return (state + 2**63) % 2**64 - 2**63  # as a signed number


def salted(seed: int, *names: str) -> int:
    """A seed for what the names stand for, such as one of two edge types."""
    return mix(seed + zlib.crc32(' '.join(names).encode()))


def set_epoch(loader: Any, epoch: int) -> None:
    """Sets the epoch of a loader or, for those of PyG and PyTorch, of its samplers."""
    names = ('link_sampler', 'node_sampler', 'sampler')
    for part in (loader, *(getattr(loader, name, None) for name in names)):
        if hasattr(part, 'set_epoch'):
            part.set_epoch(epoch)


class EpochLoader:
    """A loader whose batches depend on the epoch; several processes take turns.

    Iterating twice gives the same batches; call :meth:`set_epoch` for others.
    """

    epoch, rank, world_size = 0, 0, 1

    def set_epoch(self, epoch: int) -> None:
        """Selects what is drawn; ``ValueError`` if it is negative or not whole."""
        self.epoch = check_argument('epoch', epoch, Seed)

    def shard(self, rank: int, world_size: int) -> None:
        """Selects the batches of one process, as many for each of several."""
        self.rank = rank
        self.world_size = world_size


def _shift(state: T, bits: int) -> T:
    # A logical shift: the arithmetic one would copy the sign bit.
    return (state >> bits) & (2 ** (64 - bits) - 1)
