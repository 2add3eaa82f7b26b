"""TaNP: few-shot cold-start recommendation with task-adaptive neural processes."""

from tanp.episodes import Episodes
from tanp.loader import EpisodeBatch, EpisodeLoader
from tanp.split import EpisodeSplit, split_episodes

__all__ = [
    'EpisodeBatch',
    'EpisodeLoader',
    'EpisodeSplit',
    'Episodes',
    'split_episodes',
]
