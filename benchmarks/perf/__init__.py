"""Measurements of speed and memory: ``make perf``, or pytest on a file of this folder.

Results go to ``perf.csv`` of the folder ``--results``: a row a measure of a case.
"""
