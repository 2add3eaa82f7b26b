"""Why a rating is predicted: its parts, and the neighbours behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg.nn.gated_conv import GatedConv
from agnn_pyg.old.inference import evaluating
from agnn_pyg.old.link_loader import rating_loader
from agnn_pyg.old.model import AGNN
from agnn_pyg.old.node_encoder import NodeState

if TYPE_CHECKING:
    import pandas as pd

# Neighbours that a printed explanation shows of each side.
SHOWN = 5
# Ratings are listed if they add and take at most so many times what is left of both:
# where more of them cancel, the largest would say nothing of the rest.
CANCELLING = 3.0
LEGEND = (
    'proximity: how alike, by attributes and ratings; drawn: share of the draws that '
    'they were in'
)


@dataclass(frozen=True)
class Explanation:
    """Why a user is predicted to rate an item so.

    Attributes:
        user: The user's id.
        item: The item's id.
        rating: The predicted rating: the sum of its parts.
        parts: The mean rating, and what is added to it: by what
            :func:`rating_parts` names, by propagated ratings, if the model mixes
            any in, as :obj:`"messages"`, and by clamping to the range of ratings, as
            :obj:`"clamped"`.
        users: The user's neighbours, those that mattered most first: their ids,
            their :obj:`proximity` (weight in the candidate pool), :obj:`drawn`
            (the share of draws they were in) and :obj:`gate` (the mean of their
            aggregate gate over channels and draws).
        items: The item's neighbours, likewise.
        rated_by: Whose ratings carried the message, those that added or took most
            first: their ids, and what their ratings come to as :obj:`message`. Their
            sum is the part :obj:`"messages"`; most of them cancel, as a rule. Empty
            without messages.
        rated: The items whose ratings carried it, likewise.
    """

    user: object
    item: object
    rating: float
    parts: dict[str, float]
    users: pd.DataFrame
    items: pd.DataFrame
    rated_by: pd.DataFrame
    rated: pd.DataFrame

    def __str__(self) -> str:
        lines = [f'user {self.user}, item {self.item}: {self.rating:.2f}']
        lines += [f'  {value:+.2f}  {name}' for name, value in self.parts.items()]
        for side, frame in (('users', self.users), ('items', self.items)):
            lines += [f'{side} alike:', _text(frame.drop(columns='gate'))]
        lines.append(f'({LEGEND})')
        for title, side, frame in (
            ('ratings by', 'user', self.rated_by),
            ('ratings of', 'item', self.rated),
        ):
            if len(frame):
                lines += _carried(title, side, getattr(self, side), frame)
        return '\n'.join(lines)


def _carried(title: str, side: str, own: object, frame: pd.DataFrame) -> list[str]:
    """What ratings come to, and whose come to most where that says anything."""
    message = frame['message']
    added, taken = message.clip(lower=0).sum(), message.clip(upper=0).sum()
    line = f'{title}: {len(frame)} {side}s, {added:+.2f} {taken:+.2f}'
    line += f' = {added + taken:+.2f}'
    mine = message[frame[frame.columns[0]] == own]
    if len(mine):
        line += f', of which {side} {own} {mine.sum():+.2f}'
    if cancel(message):
        return [f'{line} (too many cancel to name a few)']
    return [line, _text(frame)]


def cancel(message: pd.Series) -> bool:
    """Whether so much of what ratings come to cancels that a few would mislead."""
    return message.abs().sum() > CANCELLING * abs(message.sum())


def _text(frame: pd.DataFrame) -> str:
    return frame.head(SHOWN).to_string(index=False, float_format='{:.2f}'.format)


def rating_parts(
    model: AGNN, user: NodeState, item: NodeState, edge_label_index: Tensor
) -> dict[str, Tensor]:
    """The terms of :meth:`AGNN.decode <agnn_pyg.AGNN.decode>`, each :obj:`[B]`.

    The global bias is what it adds to the mean rating, from which it started.
    """
    row, col = edge_label_index
    p, q = user.embedding[row], item.embedding[col]
    hidden = torch.cat([p, q], dim=-1)
    if model.lin_hidden is not None:
        hidden = model.lin_hidden(hidden).relu()
    return {
        'mean rating': p.new_full((len(p),), model.mean),
        'global bias': (model.bias - model.mean).expand(len(p)),
        'user bias': user.bias[row],
        'item bias': item.bias[col],
        'dot product': (p * q).sum(dim=-1),
        'MLP': model.lin_out(hidden).squeeze(-1),
    }


@torch.no_grad()
def explain_pair(
    model: AGNN, graph: HeteroData, user: int, item: int, *, draws: int = 8, **kwargs
) -> tuple[dict[str, float], dict[str, dict[str, Tensor]]]:
    """The parts of one rating, and of both ends the neighbours with their gates.

    Args:
        model (AGNN): The model; it is left in the mode it came in.
        graph (HeteroData): See :func:`~agnn_pyg.old.graph_build.rating_graph`.
        user (int): Row of the user.
        item (int): Row of the item.
        draws (int, optional): Draws of neighbours to average over, as in
            :func:`~agnn_pyg.old.inference.predict`. (default: :obj:`8`)
        **kwargs (optional): Of :func:`~agnn_pyg.old.link_loader.rating_loader`.

    Returns:
        The parts by name, and by side the columns :obj:`node`,
        :obj:`proximity`, :obj:`drawn` and :obj:`gate`, most important first.
    """
    device = next(model.parameters()).device
    loader = rating_loader(graph, torch.tensor([[user], [item]]), **kwargs)
    totals: dict[str, Tensor] = {}
    drawn = {'user': [], 'item': []}
    with evaluating(model), _Gates(model) as gates:
        for draw in range(draws):
            loader.set_epoch(draw)
            for batch in loader:
                batch = batch.to(device)
                states = model.encode(batch)
                parts = rating_parts(model, *states, batch.edge_label_index)
                if model.message_share:
                    parts = _mixed(model, parts, user, item)
                for name, value in parts.items():
                    totals[name] = totals.get(name, 0) + value.double().sum() / draws
                for side, nodes in (('user', batch.user), ('item', batch.item)):
                    source = nodes.n_id[nodes.edge_index[0]]
                    drawn[side].append((source.cpu(), gates.found[side].cpu()))
    neighbours = {
        side: _neighbours(graph, side, node, found, draws)
        for (side, found), node in zip(drawn.items(), (user, item), strict=True)
    }
    return {name: float(value) for name, value in totals.items()}, neighbours


def _mixed(
    model: AGNN, parts: dict[str, Tensor], user: int, item: int
) -> dict[str, Tensor]:
    """Parts that leave their share of what is added to the mean to messages."""
    share, bias = model.message_share, model.bias
    message = model.messages(*torch.tensor([[user], [item]], device=bias.device))
    if message.isnan():
        return parts
    mixed = {name: (1 - share) * value for name, value in parts.items()}
    mixed['mean rating'] = parts['mean rating']
    return mixed | {'messages': share * (message.to(bias) - model.mean)}


def carriers(
    model: AGNN, graph: HeteroData, user: int, item: int
) -> dict[str, dict[str, Tensor]]:
    """Whose ratings, and the ratings of which items, a pair's message is made of.

    Args:
        model (AGNN): With :class:`~agnn_pyg.old.messages.Messages`, if with any.
        graph (HeteroData): That the model was fitted with.
        user (int): Row of the user.
        item (int): Row of the item.

    Returns:
        By side the columns :obj:`node` and :obj:`message`, most important first.
    """
    rated = graph['user', 'rates', 'item'].edge_index
    carried = torch.zeros(rated.size(1))
    if model.message_share:
        device = model.bias.device
        carried = model.messages.carried(rated.to(device), user, item).cpu()
        carried = model.message_share * carried
    found = {}
    for side, index in zip(('user', 'item'), rated, strict=True):
        total = torch.zeros(graph[side].num_nodes).index_add(0, index, carried)
        order = total.abs().argsort(descending=True, stable=True)
        order = order[total[order] != 0]
        found[side] = {'node': order, 'message': total[order]}
    return found


def _neighbours(
    graph: HeteroData, side: str, node: int, drawn: list, draws: int
) -> dict[str, Tensor]:
    source, gate = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    distinct, position = source.unique(return_inverse=True)
    count = torch.bincount(position, minlength=len(distinct))
    gate = torch.zeros(len(distinct)).index_add(0, position, gate) / count
    share = count / draws
    order = (share * gate).argsort(descending=True, stable=True)

    store = graph[side, 'similar', side]
    mine = store.edge_index[1] == node
    weight = torch.zeros(graph[side].num_nodes)
    weight[store.edge_index[0, mine]] = store.edge_weight[mine]
    columns = {
        'node': distinct,
        'proximity': weight[distinct],
        'drawn': share,
        'gate': gate,
    }
    return {name: column[order] for name, column in columns.items()}


class _Gates:
    """Keeps the mean aggregate gate of each edge, as both sides run."""

    def __init__(self, model: AGNN) -> None:
        self.convs = {'user': model.user.conv, 'item': model.item.conv}
        self.found: dict[str, Tensor] = {}

    def __enter__(self) -> _Gates:
        self.hooks = [
            conv.register_forward_hook(self._hook(side), with_kwargs=True)
            for side, conv in self.convs.items()
        ]
        return self

    def __exit__(self, *args) -> None:
        for hook in self.hooks:
            hook.remove()

    def _hook(self, side: str):
        def hook(conv: GatedConv, args, kwargs, out) -> None:
            # Past the hooks: `forward` itself.
            _, (gate, _) = conv.forward(*args, **kwargs, return_gates=True)
            edges = args[1].size(1)
            self.found[side] = torch.ones(edges) if gate is None else gate.mean(dim=-1)

        return hook
