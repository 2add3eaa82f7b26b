"""Counter-based random numbers: hashes of a key and a counter.

They do not depend on the batch, the device or the worker process.
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
    """Restores the state of PyTorch's random generators; also decorates functions.

    It covers the CPU and, if CUDA is initialized, its devices. The generators belong to
    the process, so only one thread at a time enters. In the block, seed
    ``torch.default_generator``; ``torch.manual_seed`` also seeds CUDA before its use.
    """
    cuda = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
    with _TURN, torch.random.fork_rng([*range(cuda)], device_type='cuda'):
        yield


def uniform(counter: Tensor, key: int) -> Tensor:
    """Uniform numbers in (0, 1): a hash of each counter with a key."""
    return (random_bits(counter, key).double() + 0.5) / 2**53


def random_bits(counter: T, key: int | T) -> T:
    """53 random bits for each counter, a tensor or NumPy array of ``int64``."""
    state = counter * _GAMMA + key
    state = (state ^ _shift(state, 30)) * _MIX_1
    state = (state ^ _shift(state, 27)) * _MIX_2
    return _shift(state ^ _shift(state, 31), 11)


def mix(number: int) -> int:
    """Scrambles a number, so that seeds 0, 1, 2 are far apart."""
    # Python integers are faster than a tensor for a single number.
    state = (int(number) * _GAMMA + _GAMMA) % 2**64
    state = (state ^ state >> 30) * _MIX_1 % 2**64
    state = (state ^ state >> 27) * _MIX_2 % 2**64
    state ^= state >> 31
    return (state + 2**63) % 2**64 - 2**63  # signed


def salted(seed: int, *names: str) -> int:
    """A seed for a named use, such as one of two edge types."""
    return mix(seed + zlib.crc32(' '.join(names).encode()))


def set_epoch(loader: Any, epoch: int) -> None:
    """Sets the epoch of a loader and of its samplers, where they have one."""
    names = ('link_sampler', 'node_sampler', 'sampler')
    for part in (loader, *(getattr(loader, name, None) for name in names)):
        if hasattr(part, 'set_epoch'):
            part.set_epoch(epoch)


class EpochLoader:
    """Base class of loaders whose batches depend on the epoch and the process.

    Iterating twice yields the same batches until :meth:`set_epoch` is called.
    """

    epoch, rank, world_size = 0, 0, 1

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch; ``ValueError`` if it is negative or no whole number."""
        self.epoch = check_argument('epoch', epoch, Seed)

    def shard(self, rank: int, world_size: int) -> None:
        """Selects the batches of one process; all have the same number of batches."""
        self.rank = rank
        self.world_size = world_size


def _shift(state: T, bits: int) -> T:
    # A logical shift; the arithmetic shift would copy the sign bit.
    return (state >> bits) & (2 ** (64 - bits) - 1)
