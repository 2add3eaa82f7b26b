"""TaNP: few-shot cold-start recommendation with task-adaptive neural processes."""

from tanp.episodes import Episodes
from tanp.inference import Prediction, predict
from tanp.loader import EpisodeBatch, EpisodeLoader
from tanp.loss import tanp_loss
from tanp.metrics import evaluate
from tanp.model import TaNP, TaskOutput
from tanp.serialization import load_model, save_model
from tanp.split import EpisodeSplit, split_episodes

__all__ = [
    'EpisodeBatch',
    'EpisodeLoader',
    'EpisodeSplit',
    'Episodes',
    'Prediction',
    'TaNP',
    'TaskOutput',
    'evaluate',
    'load_model',
    'predict',
    'save_model',
    'split_episodes',
    'tanp_loss',
]
