"""TaNP: few-shot cold-start recommendation with task-adaptive neural processes."""

from tanp.catalogue import CatalogueScorer
from tanp.episodes import Episodes
from tanp.inference import Prediction, evaluate, predict, predict_ensemble
from tanp.loader import EpisodeBatch, EpisodeLoader
from tanp.loss import tanp_loss
from tanp.model import TaNP, TaskOutput
from tanp.recommend import Recommendation, recommend
from tanp.serialization import load_model, save_model
from tanp.split import EpisodeSplit, split_episodes
from tanp.statistics import InteractionStatistics

__all__ = [
    'CatalogueScorer',
    'EpisodeBatch',
    'EpisodeLoader',
    'EpisodeSplit',
    'Episodes',
    'InteractionStatistics',
    'Prediction',
    'Recommendation',
    'TaNP',
    'TaskOutput',
    'evaluate',
    'load_model',
    'predict',
    'predict_ensemble',
    'recommend',
    'save_model',
    'split_episodes',
    'tanp_loss',
]
