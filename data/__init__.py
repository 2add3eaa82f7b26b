"""Loads data sets as checked tables and makes cold-start splits.

* :mod:`data.fetch`: the cache, checksums, the offline mirror, the network.
* :mod:`data.archives`: members of a zip file, read in place up to a size limit.
* :mod:`data.tables`: tables of users, items and ratings, also from CSV or Parquet.
* :mod:`data.movielens`: MovieLens-100K with film attributes, its splits u1 to u5,
  and MovieLens-1M.
* :mod:`data.lastfm`: Last.FM, implicit labels for TaNP.
* :mod:`data.public`: Flixster, Douban, YahooMusic with their published splits.
* :mod:`data.splits`: strict item-cold, user-cold, both-cold and warm splits.
* :mod:`data.episode_split`: few-shot tasks for TaNP, by its authors' rule.
* :mod:`data.synthetic`: small seeded tables with known structure.
* :mod:`data.zipf`: large seeded tables as arrays, to measure speed.

Import submodules by name, from the root of the repository::

    from data.splits import split

Never write a bare ``import data``, because PyG code commonly has a variable of that
name. The wheel omits this package for the same reason.
"""
