"""Baselines: estimators with the interface of the recommenders.

Rating baselines have ``fit(ratings, users, items)`` and ``predict(pairs)``, few-shot
baselines ``fit(ratings, users, items)`` and ``adapt(support).predict(pairs)``. The
library that one stands on is imported when it is fitted; without it, it is not run.
"""
