"""AGNN as a scorer: fitted on rating data, for nodes old and new."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg.agnn_config import AGNNConfig
from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.graph.cold_nodes import cold_candidates
from agnn_pyg.graph.transform import AddAttributeKNN
from agnn_pyg.model import AGNN
from agnn_pyg.nn.node_encoder import NodeState
from agnn_pyg.rating_data import SIDES, NodeFeatures, RatingData
from agnn_pyg.sampling.blocks import NodeSource, knn_edge_types
from agnn_pyg.sampling.loader import RatingLoader
from agnn_pyg.scoring import embed_nodes, predict, score_all

RATES = ('user', 'rates', 'item')
# Far from every training seed, so that predictions never use the draws of a training.
EVALUATION_SEED = 1_000_003
EVALUATION_BATCH = 4096


class Neighbors(NamedTuple):
    """Neighbours of one node, the most important first.

    Attributes:
        node: Their rows, :obj:`[K]`.
        proximity: Their weights in the candidate set.
        drawn: The fraction of the draws with them.
        gate: The mean of their aggregate gate over channels and draws.
    """

    node: Tensor
    proximity: Tensor
    drawn: Tensor
    gate: Tensor


class NetworkExplanation(NamedTuple):
    """What the score of one pair is made of.

    Attributes:
        parts: The terms of the score by name; their sum is the score.
        neighbors: The neighbours of both nodes, by side.
    """

    parts: dict[str, float]
    neighbors: dict[str, Neighbors]


class AGNNScorer:
    r"""Scores pairs by :class:`~agnn_pyg.AGNN`.

    Nodes without ratings are cold. Scores are means over several draws of neighbours
    with a fixed seed; they do not depend on what else is scored.

    Args:
        config (AGNNConfig, optional): Its settings. (default: the defaults)

    Attributes:
        model_: The trained network, in evaluation mode.
        history_: Metrics of every epoch.
        best_epoch_: The epoch that was kept, from 0.
    """

    def __init__(self, config: AGNNConfig | None = None) -> None:
        self.config = config or AGNNConfig()

    # Random numbers drawn after a fit are those that would be drawn without it.
    @torch.random.fork_rng(devices=[])
    def fit(
        self,
        data: RatingData,
        validation: tuple[Tensor, Tensor] | None = None,
        *,
        refit: bool = False,
        stop_after: int | None = None,
        progress: bool | None = None,
        accelerator: str | None = None,
        folder: str | os.PathLike | None = None,
        resume: bool = False,
        **trainer_options: Any,
    ) -> AGNNScorer:
        """Trains the network.

        Args:
            data (RatingData): Ratings and nodes.
            validation (tuple, optional): Pairs, :obj:`[2, V]`, and their ratings,
                :obj:`[V]`, to select the epoch on; without, the last one is kept.
            refit (bool, optional): Train once more, on both kinds of ratings, up to
                the epoch that was selected. (default: :obj:`False`)
            stop_after (int, optional): Epochs to train, if not all of the schedule.
            progress (bool, optional): (default: as in the config)
            accelerator (str, optional): (default: as in the config)
            folder (path, optional): Where checkpoints and logs go.
            resume (bool, optional): Continue from the last checkpoint there.
            **trainer_options (optional): Arguments of Lightning's ``Trainer``.

        Raises:
            ValueError: If ratings are not of the nodes, or an argument is out of range.
        """
        config = self.config
        run = {
            'progress': config.progress if progress is None else progress,
            'accelerator': accelerator or config.accelerator,
            'folder': folder,
            'resume': resume,
            **trainer_options,
        }
        self._train(data, validation, stop_after, run)
        if refit and validation is not None:
            history, best_epoch = self.history_, self.best_epoch_
            joined = RatingData(
                data.nodes,
                data.columns,
                torch.cat([data.edge_index, validation[0]], dim=1),
                torch.cat([data.rating, validation[1]]),
            )
            if folder is not None:
                run['folder'] = os.path.join(folder, 'refit')
            self._train(joined, None, best_epoch + 1, run)
            self.history_, self.best_epoch_ = history, best_epoch
        return self

    def _train(
        self,
        data: RatingData,
        validation: tuple[Tensor, Tensor] | None,
        stop_after: int | None,
        run: dict[str, Any],
    ) -> None:
        # Imported here: loading and serving need no training code.
        from agnn_pyg.base.training import fit
        from agnn_pyg.module import RatingModule

        config, rating = self.config, data.rating.float()
        graph = self._build_graph(data)
        plain = {
            'num_nodes': data.num_nodes,
            'in_channels': {s: data.nodes[s].embedded.num_tokens for s in SIDES},
            'mean': float(rating.mean()) if config.start_at_mean else 0.0,
        }
        compared = {side: data.nodes[side].compared for side in SIDES}
        nodes = {side: NodeSource.from_data(graph, side) for side in SIDES}
        loaders = [
            RatingLoader(
                nodes,
                data.edge_index,
                rating,
                batch_size=config.training_batch(len(rating)),
                num_neighbors=config.num_neighbors,
                shuffle=True,
                cold_dropout=dict(zip(SIDES, config.cold_dropout, strict=True)),
                self_neighbor=config.self_neighbor,
                seed=config.seed,
            )
        ]
        if validation is not None:
            index, label = validation
            loaders.append(
                RatingLoader(nodes, index, label.float(), **self._evaluation())
            )
        torch.manual_seed(config.seed)
        module = RatingModule(
            self._model(plain),
            lr=config.lr,
            embedding_lr=config.embedding_lr,
            weight_decay=config.weight_decay,
            kl_weight=config.kl_weight,
            reconstruction_weight=config.reconstruction_weight,
            embedding_l2=config.embedding_l2,
            published_loss=config.published_loss,
            published_optimizer=config.published_optimizer,
            rating_range=(float(rating.min()), float(rating.max())),
            seed=config.seed,
        )
        result = fit(
            module,
            *loaders,
            epochs=config.epochs,
            stop_after=stop_after,
            patience=None if validation is None else config.patience,
            ema_decay=config.ema_decay,
            ema_every=4,
            gradient_clip=config.gradient_clip,
            **run,
        )
        self._keep(plain, module.model, graph, compared)
        self.history_, self.best_epoch_ = result.history, result.best_epoch

    def score(self, user: Tensor, item: Tensor) -> Tensor:
        """Predicted ratings of pairs of user and item rows, each :obj:`[B]`.

        Returns:
            Of dtype ``float64``, not clamped to the range of ratings.
        """
        if not len(user):
            return torch.empty(0, dtype=torch.float64)
        loader = RatingLoader(
            self._nodes, torch.stack([user, item]), **self._evaluation()
        )
        return predict(self.model_, loader, self.config.num_neighbor_samples)

    def score_all(self, users: Tensor, items: Tensor) -> Iterator[Tensor]:
        """Predicted ratings of all pairs, in blocks of users :obj:`[<= 64, items]`."""
        if not len(users) or not len(items):
            parts = users.split(64)
            return (torch.empty(len(p), len(items), dtype=torch.float64) for p in parts)
        embedded = embed_nodes(
            self.model_,
            self._nodes,
            users,
            items,
            num_neighbor_samples=self.config.num_neighbor_samples,
            **self._evaluation(),
        )
        return (block.double() for block in score_all(self.model_, *embedded))

    def with_new_nodes(self, nodes: Mapping[str, NodeFeatures]) -> AGNNScorer:
        """A scorer with more nodes, all cold, after those that there are.

        It shares the model and the nodes of this one.

        Raises:
            ValueError: If the network reads learned embeddings of cold neighbours, as
                the published code does.
        """
        config = self.config
        if config.self_neighbor and not config.generate_neighbors:
            raise ValueError(
                "'generate_neighbors' must be True where new nodes are their own "
                'neighbours (got False): they have no learned embedding'
            )
        made = AGNNScorer(config)
        vars(made).update(vars(self), _nodes=dict(self._nodes))
        for side, new in nodes.items():
            edges = cold_candidates(
                new.compared,
                self._compared[side],
                candidate_fraction=config.candidate_fraction,
                max_candidates=config.max_candidates,
                seed=config.seed,
            )
            x = new.embedded.index, new.embedded.weight
            made._nodes[side] = self._nodes[side].add_cold_nodes(x, *edges)
        return made

    @torch.no_grad()
    def explain(self, user: int, item: int) -> NetworkExplanation:
        """The terms of the score of a pair, and the neighbours of both nodes."""
        model, draws = self.model_, self.config.num_neighbor_samples
        pair = torch.tensor([[user], [item]])
        loader = RatingLoader(self._nodes, pair, **self._evaluation())
        totals: dict[str, Tensor] = {}
        drawn = {side: [] for side in SIDES}
        for draw in range(draws):
            loader.set_epoch(draw)
            for batch in loader:
                x, edges, pairs, cold, n_id, num_targets, _ = batch
                states = model.encode(
                    x, edges, cold, n_id, num_targets, return_gates=True
                )
                for name, value in rating_parts(model, states, pairs).items():
                    totals[name] = totals.get(name, 0) + value.double().sum() / draws
                for kind, index in edges.items():
                    source, gate = n_id[kind[0]][index[0]], states[kind[0]].gates
                    gate = gate.get(kind)
                    gate = torch.ones(len(source)) if gate is None else gate.mean(dim=1)
                    drawn[kind[0]].append((source, gate))
        neighbors = {
            side: self._neighbors(side, node, drawn[side])
            for side, node in zip(SIDES, (user, item), strict=True)
        }
        parts = {name: float(value) for name, value in totals.items()}
        return NetworkExplanation(parts, neighbors)

    def _neighbors(
        self, side: str, node: int, drawn: list[tuple[Tensor, Tensor]]
    ) -> Neighbors:
        if not drawn:
            empty = torch.empty(0)
            return Neighbors(empty.long(), empty, empty, empty)
        source, gate = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        distinct, position = source.unique(return_inverse=True)
        count = torch.bincount(position, minlength=len(distinct))
        gate = torch.zeros(len(distinct)).index_add(0, position, gate) / count
        share = count / self.config.num_neighbor_samples
        kind = side, self._relation, side
        own, weight = self._nodes[side].proximity(kind, node)
        is_own = distinct[:, None] == own
        proximity = (is_own * weight).sum(dim=1).float()
        order = (share * gate).argsort(descending=True, stable=True)
        return Neighbors(*(c[order] for c in (distinct, proximity, share, gate)))

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`state_dict` leaves out, as plain data ready for JSON."""
        return self._plain | {'history': self.history_, 'best_epoch': self.best_epoch_}

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of the fit by name."""
        state = {f'model.{k}': v for k, v in self.model_.state_dict().items()}
        for side in SIDES:
            store = self._graph[side]
            for key in ('x', 'x_weight', 'cold'):
                state[f'{side}.{key}'] = store[key]
            for key, tensor in vars(self._compared[side]).items():
                state[f'{side}.compared.{key}'] = tensor
            for kind in knn_edge_types(self._graph, side):
                for key in ('edge_index', 'edge_weight'):
                    state[f'{side}.{kind[1]}.{key}'] = self._graph[kind][key]
        return state

    @classmethod
    def from_state(
        cls,
        config: AGNNConfig,
        plain: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> AGNNScorer:
        """The inverse of :meth:`to_dict` and :meth:`state_dict`."""

        def under(prefix: str) -> dict[str, Tensor]:
            keys = (key for key in tensors if key.startswith(prefix))
            return {key[len(prefix) :]: tensors[key] for key in keys}

        made, graph, compared = cls(config), HeteroData(), {}
        for side in SIDES:
            compared[side] = TokenBags(**under(f'{side}.compared.'))
            for key in ('x', 'x_weight', 'cold'):
                graph[side][key] = tensors[f'{side}.{key}']
            graph[side].num_nodes = len(graph[side].x)
            for name in ('attribute_knn', 'rating_knn'):
                for key, tensor in under(f'{side}.{name}.').items():
                    graph[side, name, side][key] = tensor
        plain = dict(plain)
        made.history_, made.best_epoch_ = plain.pop('history'), plain.pop('best_epoch')
        model = made._model(plain)
        model.load_state_dict(under('model.'))
        made._keep(plain, model, graph, compared)
        return made

    @property
    def _relation(self) -> str:
        """The edge type of the candidates of warm nodes."""
        return 'rating_knn' if self.config.use_rating_proximity else 'attribute_knn'

    def _build_graph(self, data: RatingData) -> HeteroData:
        config, graph = self.config, HeteroData()
        for side in SIDES:
            embedded = data.nodes[side].embedded
            graph[side].x, graph[side].x_weight = embedded.index, embedded.weight
        graph[RATES].edge_index, graph[RATES].rating = data.edge_index, data.rating
        return AddAttributeKNN(
            RATES,
            rating_knn=config.use_rating_proximity,
            features={side: data.nodes[side].compared for side in SIDES},
            candidate_fraction=config.candidate_fraction,
            max_candidates=config.max_candidates,
            seed=config.seed,
        )(graph)

    def _model(self, plain: Mapping[str, Any]) -> AGNN:
        kinds = [(side, self._relation, side) for side in SIDES]
        return AGNN(edge_types=kinds, **plain, **self.config.model_options())

    def _keep(
        self,
        plain: dict[str, Any],
        model: AGNN,
        graph: HeteroData,
        compared: dict[str, TokenBags],
    ) -> None:
        self._plain, self._graph, self._compared = plain, graph, compared
        self.model_ = model.eval()
        self._nodes = {side: NodeSource.from_data(graph, side) for side in SIDES}

    def _evaluation(self) -> dict[str, Any]:
        """Options of the loaders that predictions are made with."""
        config = self.config
        return {
            'batch_size': max(config.batch_size or 0, EVALUATION_BATCH),
            'num_neighbors': config.num_neighbors,
            'self_neighbor': config.self_neighbor,
            'seed': EVALUATION_SEED,
        }


def rating_parts(
    model: AGNN, states: Mapping[str, NodeState], edge_label_index: Tensor
) -> dict[str, Tensor]:
    """The terms of :meth:`AGNN.decode <agnn_pyg.AGNN.decode>`, each :obj:`[B]`.

    The global bias is given relative to the mean rating, from which it started.
    """
    (row, col), (user, item) = edge_label_index, (states[end] for end in model.ends)
    p, q = user.x[row], item.x[col]
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
