"""Settings of the graph network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
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

    num_neighbors: NonNegativeInt = Field(
        10, description='Neighbours that a node draws; 0 switches the graph off.'
    )
    use_rating_proximity: bool = Field(
        True, description='Compare warm nodes by their training ratings, too.'
    )
    candidate_fraction: float = Field(
        0.05,
        gt=0,
        le=1,
        description='Fraction of the other nodes in a candidate set, see '
        ':func:`~agnn_pyg.attribute_graph`.',
    )
    max_candidates: PositiveInt = Field(500, description='The largest candidate set.')
    self_neighbor: bool = Field(
        False,
        description='Replace the last neighbour of a node by the node itself, as the '
        'published code does.',
    )


class NetworkConfig(Config):
    """Network."""

    channels: PositiveInt = Field(32, description='Size of embeddings.')
    hidden_channels: NonNegativeInt = Field(
        32, description="Size of the MLP's hidden layer; 0 makes it linear."
    )
    dropout: DropoutRate = Field(
        0.0, description='Dropout of embeddings and of the hidden layer.'
    )
    conv: Literal['gated', 'sage', 'gat', 'gcn', 'res_gated'] = Field(
        'gated',
        description='The convolution over neighbours: :class:`~agnn_pyg.nn.GatedConv` '
        'or a layer of PyG.',
    )
    aggregate_gate: bool = Field(True, description='Of the gated convolution.')
    filter_gate: bool = Field(True, description='Of the gated convolution.')
    negative_slope: float = Field(
        1.0,
        description='Slope of the LeakyReLU of the gated convolution; 1 switches it '
        'off.',
    )
    skip: bool = Field(
        True,
        description='Add a linear map of the summed attribute embeddings to the '
        'output of the convolution.',
    )
    generate: bool = Field(
        True, description='Generate the preference of cold nodes, or else it is 0.'
    )
    generate_bias: bool = Field(
        True, description='Generate the bias of cold nodes, or else it is 0.'
    )
    generate_neighbors: bool = Field(
        True,
        description='Generate the preference of cold neighbours, or else their '
        'embedding, which was never trained, is used, as in the published code.',
    )
    separate_neighbors: bool = Field(
        False, description='Encode neighbours by other weights than the node itself.'
    )
    share_user_sum_layer: bool = Field(
        False,
        description="Encode users' own attributes by the linear term of the "
        'neighbours, a slip of the published code.',
    )
    start_at_mean: bool = Field(
        True, description='Start the global bias at the mean rating, or else at 0.'
    )
    embedding_std: NonNegativeFloat = Field(
        0.01, description='Standard deviation of the initial preferences.'
    )
    sparse: bool = Field(
        False,
        description='Sparse gradients of embeddings: a step costs as much as the '
        'nodes of its batch. For 100,000 nodes or more.',
    )

    def make_conv(self, channels: int) -> nn.Module:
        """A convolution of a width, as configured."""
        if self.conv == 'gated':
            return GatedConv(
                channels,
                negative_slope=self.negative_slope,
                aggregate_gate=self.aggregate_gate,
                filter_gate=self.filter_gate,
            )
        from torch_geometric.nn import GATConv, GCNConv, ResGatedGraphConv, SAGEConv

        layers = {
            'sage': SAGEConv,
            'gat': GATConv,
            'gcn': GCNConv,
            'res_gated': ResGatedGraphConv,
        }
        return layers[self.conv](channels, channels)

    def model_options(self) -> dict:
        """Arguments of :class:`~agnn_pyg.AGNN`."""
        names = [
            'channels',
            'hidden_channels',
            'dropout',
            'skip',
            'generate',
            'generate_bias',
            'generate_neighbors',
            'separate_neighbors',
            'embedding_std',
            'sparse',
        ]
        shared = ('user',) if self.share_user_sum_layer else ()
        return {name: getattr(self, name) for name in names} | {
            'conv': self.make_conv,
            'share_sum_layer': shared,
        }


class LossConfig(Config):
    """Training of the network."""

    embedding_lr: PositiveFloat = Field(
        3e-2, description='Learning rate of the preferences and biases of nodes.'
    )
    kl_weight: NonNegativeFloat = Field(
        0.01, description='Weight of the KL divergence of the extended VAE.'
    )
    reconstruction_weight: NonNegativeFloat = Field(
        0.1, description='Weight of the distance of reconstructed preferences.'
    )
    embedding_l2: NonNegativeFloat = Field(
        0.01, description='Weight of the squared norm of preferences.'
    )
    cold_dropout: tuple[Fraction, Fraction] = Field(
        (0.1, 0.5),
        description='Fractions of the users and of the items of a batch that are '
        'treated as cold.',
    )
    gradient_clip: PositiveFloat | None = Field(
        None, description='Largest norm of the gradient.'
    )
    num_neighbor_samples: PositiveInt = Field(
        8, description='Draws of neighbours that a prediction is the mean of.'
    )
    published_loss: bool = Field(
        False,
        description='The loss of the published code, see '
        ':func:`~agnn_pyg.loss.published_terms`.',
    )
    published_optimizer: bool = Field(
        False,
        description='The optimizer of the published code: Adam, decay of all '
        'parameters within its gradient, a constant learning rate.',
    )


class AGNNConfig(GraphConfig, NetworkConfig, TrainingConfig, LossConfig):
    """Settings of :class:`~agnn_pyg.AGNNScorer`."""

    def training_batch(self, num_ratings: int) -> int:
        """Ratings in a training batch, by their number unless set."""
        if self.batch_size is not None:
            return self.batch_size
        return max(1, min(MAX_BATCH, num_ratings // MIN_STEPS))


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
