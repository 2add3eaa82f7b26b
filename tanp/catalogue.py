"""Scores of a whole catalogue: what depends on items alone is computed once.

The formulas are those of :class:`~tanp.nn.SupportAttention`,
:class:`~tanp.nn.SupportRegression` and :class:`~tanp.nn.ModulatedDecoder`, arranged for
users who ask for every item:

* What is known of items, their share of the decoder's first layer and the kernels of
  all pairs of them are the same for all users, and made once.
* A key is taken to what is known of items, where the map from it to queries would be
  taken to every item.
* Kernels are zero for most pairs, which are left out. The one that is not is a
  product of vectors, and becomes part of keys.
* Where supports are read, items come last, and in the decoder first: so products are
  fastest.
* The decoder reads sums of kernels, and means that are multiples of them: their
  weights are added up, once a user.
* Modulation scales a layer's weights rather than its outputs.
* A block of users is scored in the memory of the one before.
"""

from __future__ import annotations

from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor

from tanp.attend import Attention, sizes_of
from tanp.loader import EpisodeBatch
from tanp.model import TaNP
from tanp.reading import Reading, SupportReader
from tanp.strangers import StrangerInputs

# Users times items at a time: what they need should fit a cache.
BLOCK_PAIRS = 4096


class CatalogueScorer:
    """Scores all items for users who have no share in a model's statistics.

    Args:
        model (TaNP): In evaluation mode. What it learns later is not seen.

    Raises:
        ValueError: If the model is in training mode, or not one that :meth:`suits`.
    """

    @torch.no_grad()
    def __init__(self, model: TaNP) -> None:
        if model.training:
            raise ValueError(
                "'model' is in training mode, in which scores are random; call "
                "'model.eval()' first"
            )
        if not self.suits(model):
            raise ValueError(
                "'model' regresses supports without attention to them, which is read "
                "pair by pair; use 'PairScorer'"
            )
        self.model = model
        self.strangers = strangers = StrangerInputs(model.inputs)
        self.width = strangers.x.size(-1)
        # Users at a time.
        self.step = max(1, BLOCK_PAIRS // len(strangers.x))
        # Lists of modules take a while to read.
        self.first, *self.others = model.decoder.lins
        # size = [I, C]
        weight = self.first.weight[:, : self.width]
        self.hidden = F.linear(strangers.x, weight, self.first.bias)
        self.offset = model.decoder.lin_out.bias
        if strangers.told is not None:
            popularity = model.lin_counts(strangers.told.counts)
            self.offset = self.offset + popularity.squeeze(-1)
        if strangers.based:
            self.offset = self.offset + strangers.told.mean
        self.reader = None
        if model.attention is not None:
            self.reader = SupportReader(model, strangers)

    @staticmethod
    def suits(model: TaNP) -> bool:
        """Whether a model's catalogue can be scored so: not by regression alone."""
        return model.regression is None or model.attention is not None

    @torch.no_grad()
    def __call__(self, batch: EpisodeBatch) -> Tensor:
        """Scores of all items for each task of a batch, :obj:`[B, I]`.

        Args:
            batch (EpisodeBatch): Its query is not read.
        """
        batch = batch.cleared()
        inputs, excess = self.strangers(batch)
        task, context, *_ = self.model.encode(inputs)
        scales, shifts = self.model.decoder.modulate(task)
        scale = scales[0]
        shift = torch.addcmul(shifts[0], scale, self._shared(batch, context))
        reading = None
        if self.reader is not None:
            reading = self.reader(batch, inputs, scale)
            shift = shift + reading.shift
        rest, level = self._rest(scales, shifts)
        if excess is not None:
            level = level + excess[:, None]
        first = scale[:, None], shift[:, None]
        return self._score(batch, reading, first, rest).add_(level)

    def _shared(self, batch: EpisodeBatch, context: Tensor | None) -> Tensor:
        """What all items of a task share of the first layer, without its bias."""
        weight = self.first.weight
        shared = self.strangers.user(weight, batch.user)
        if context is not None:
            own = weight[:, self.model.decoder.in_channels :]
            shared = shared + F.linear(context, own)
        return shared

    def _rest(
        self, scales: list[Tensor], shifts: list[Tensor]
    ) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        r"""The other layers, whose shifts come last.

        As :math:`\mathrm{ReLU}(h + s) = \max(h, -s) + s`, a shift is a bound, and what
        it adds to the layer after is the same for all items.

        Returns:
            A weight :obj:`[B, C, C']` and a bound :obj:`[B, 1, C']` of each layer, and
            what the last one adds to scores, :obj:`[B, 1]`.
        """
        made, left = [], torch.zeros_like(shifts[0])
        for lin, scale, shift in zip(self.others, scales[1:], shifts[1:], strict=True):
            left = torch.addcmul(shift, scale, F.linear(left, lin.weight, lin.bias))
            weight = scale[..., None] * lin.weight
            made.append((weight.mT, -left[:, None]))
        return made, F.linear(left, self.model.decoder.lin_out.weight)

    def _score(
        self,
        batch: EpisodeBatch,
        reading: Reading | None,
        first: tuple[Tensor, Tensor],
        rest: list[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """Scores but for what all items of a task share, in blocks, :obj:`[B, I]`."""
        num_tasks, step = len(batch.user), min(self.step, len(batch.user))
        size = sizes_of(num_tasks, step)
        empty = self.hidden.new_empty
        score = empty(num_tasks, len(self.hidden))
        room = [
            empty(step, len(self.hidden), width)
            for width in self.model.decoder.channels
        ]
        last = self.model.decoder.lin_out.weight[0]
        rows = lins = repeat(None)
        if reading is not None:
            rows = Attention(self.reader, reading, batch, step)
            lins = reading.lin.mT.split_with_sizes(size)
        # Scale and shift of the first layer, weight and bound of each other.
        layers = [
            zip(*(part.split_with_sizes(size) for part in layer), strict=True)
            for layer in (first, *rest)
        ]
        scores = score.split_with_sizes(size)
        blocks = zip(scores, rows, lins, *layers, strict=False)
        for out, told, lin, (scale, shift), *others in blocks:
            hidden, *free = (part[: len(out)] for part in room)
            torch.addcmul(shift, self.hidden, scale, out=hidden)
            if lin is not None:
                hidden.baddbmm_(told.permute(1, 2, 0), lin)
            hidden.relu_()
            for (weight, bound), made in zip(others, free, strict=True):
                torch.bmm(hidden, weight, out=made)
                hidden = torch.maximum(made, bound, out=made)
            torch.matmul(hidden, last, out=out)
        return score.add_(self.offset)


class PairScorer:
    """Scores all items for any users, as a query of that many items.

    Args:
        model (TaNP): In evaluation mode.
    """

    def __init__(self, model: TaNP) -> None:
        self.model = model

    @torch.no_grad()
    def __call__(self, batch: EpisodeBatch) -> Tensor:
        """See :class:`CatalogueScorer`."""
        item = torch.arange(self.model.inputs.num_items, device=batch.user.device)
        item = item.expand(len(batch.user), -1)
        label = torch.zeros_like(item, dtype=batch.support_label.dtype)
        mask = torch.ones_like(item, dtype=torch.bool)
        batch = batch._replace(query_item=item, query_label=label, query_mask=mask)
        return self.model(batch).score.view_as(label)
