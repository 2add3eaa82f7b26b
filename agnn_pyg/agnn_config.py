"""Settings of the graph network."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Gt, Le
from torch import nn

from agnn_pyg.base.config import (
    Config,
    DropoutRate,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from agnn_pyg.base.recommender_config import TrainingConfig
from agnn_pyg.nn.gated_conv import GatedConv

# The largest batch, and the fewest batches of an epoch: an epoch of fewer steps, of few
# ratings, would hardly train.
MAX_BATCH, MIN_STEPS = 2048, 32


class GraphConfig(Config):
    """Attribute graph."""

    num_neighbors: NonNegativeInt = 10
    """Neighbours that a node draws; 0 switches the graph off."""
    use_rating_proximity: bool = True
    """Compare warm nodes by their training ratings, too."""
    candidate_fraction: Annotated[float, Gt(0), Le(1)] = 0.05
    """Fraction of the other nodes in a candidate set."""
    max_candidates: PositiveInt = 500
    """The largest candidate set."""
    self_neighbor: bool = False
    """Replace the last neighbour of a node by the node itself."""


class NetworkConfig(Config):
    """Network."""

    channels: PositiveInt = 32
    """Size of embeddings."""
    hidden_channels: NonNegativeInt = 32
    """Size of the hidden layer of the MLP; 0 makes the MLP linear."""
    dropout: DropoutRate = 0.0
    """Dropout of embeddings and of the hidden layer."""
    conv: Literal['gated', 'sage', 'gat', 'gcn', 'res_gated'] = 'gated'
    """The convolution: that of the paper, or a layer of PyG."""
    aggregate_gate: bool = True
    """Gate the neighbours."""
    filter_gate: bool = True
    """Gate the node itself."""
    negative_slope: float = 1.0
    """Slope of the LeakyReLU of the gated convolution; 1 for none."""
    skip: bool = True
    """Add a linear map of the summed attribute embeddings."""
    generate: bool = True
    """Generate the preference of cold nodes, or else it is 0."""
    generate_bias: bool = True
    """Generate the bias of cold nodes, or else it is 0."""
    generate_neighbors: bool = True
    """Generate for cold neighbours, too, or use their embedding."""
    separate_neighbors: bool = False
    """Encode neighbours by other weights than the node itself."""
    share_user_sum_layer: bool = False
    """Share the linear term of users and of their neighbours."""
    start_at_mean: bool = True
    """Start the global bias at the mean rating, or else at 0."""
    embedding_std: NonNegativeFloat = 0.01
    """Standard deviation of the initial preferences."""
    sparse: bool = False
    """Sparse gradients of embeddings, for 100,000 nodes or more."""

    def make_conv(self, channels: int) -> nn.Module:
        """A convolution of a width, as configured."""
        from torch_geometric.nn import GATConv, GCNConv, ResGatedGraphConv, SAGEConv

        layers = {'sage': SAGEConv, 'gat': GATConv, 'gcn': GCNConv}
        layers['res_gated'] = ResGatedGraphConv
        if self.conv in layers:
            return layers[self.conv](channels, channels)
        return GatedConv(
            channels,
            negative_slope=self.negative_slope,
            aggregate_gate=self.aggregate_gate,
            filter_gate=self.filter_gate,
        )

    def model_options(self) -> dict[str, Any]:
        """Arguments of :class:`~agnn_pyg.AGNN`."""
        other = {'conv', 'aggregate_gate', 'filter_gate', 'negative_slope'}
        other |= {'share_user_sum_layer', 'start_at_mean'}
        names = [name for name in NetworkConfig.model_fields if name not in other]
        shared = ('user',) if self.share_user_sum_layer else ()
        options = {'conv': self.make_conv, 'share_sum_layer': shared}
        return options | {name: getattr(self, name) for name in names}


class NetworkTrainingConfig(TrainingConfig):
    """Training of the network."""

    embedding_lr: PositiveFloat = 3e-2
    """Learning rate of the preferences and biases of nodes."""
    kl_weight: NonNegativeFloat = 0.01
    """Weight of the KL divergence of the extended VAE."""
    reconstruction_weight: NonNegativeFloat = 0.1
    """Weight of the squared distance of reconstructed preferences."""
    embedding_l2: NonNegativeFloat = 0.01
    """Weight of the squared norm of preferences."""
    cold_dropout: tuple[Fraction, Fraction] = (0.1, 0.5)
    """Fractions of users and of items treated as cold."""
    gradient_clip: PositiveFloat | None = None
    """Largest norm of the gradient."""
    num_neighbor_samples: PositiveInt = 8
    """Draws of neighbours that a prediction is the mean of."""
    published_loss: bool = False
    """The loss of the published code."""
    published_optimizer: bool = False
    """The optimizer of the published code."""


class AGNNConfig(GraphConfig, NetworkConfig, NetworkTrainingConfig):
    """Settings of :class:`~agnn_pyg.AGNNScorer`."""

    def training_batch(self, num_ratings: int) -> int:
        """Ratings in a training batch, by their number unless set."""
        batch = max(1, min(MAX_BATCH, num_ratings // MIN_STEPS))
        return batch if self.batch_size is None else self.batch_size


# The network and the training of the published code; see the table in the README.
AS_PUBLISHED = {
    'self_neighbor': True,
    'channels': 30,
    'hidden_channels': 0,
    'negative_slope': 0.01,
    'skip': False,
    'generate_bias': False,
    'generate_neighbors': False,
    'separate_neighbors': True,
    'share_user_sum_layer': True,
    'start_at_mean': False,
    'embedding_std': 0.04,
    'epochs': 20,
    'batch_size': 128,
    'lr': 5e-4,
    'embedding_lr': 5e-4,
    'weight_decay': 1e-3,
    'kl_weight': 1.0,
    'reconstruction_weight': 1.0,
    'embedding_l2': 0.0,
    'cold_dropout': (0.0, 0.0),
    'ema_decay': None,
    'num_neighbor_samples': 1,
    'published_loss': True,
    'published_optimizer': True,
}
