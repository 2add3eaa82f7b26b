"""Raw files to checked tables, and tables to cold-start splits.

* :mod:`data.fetch`: the cache, checksums, the offline mirror, the network.
* :mod:`data.archives`: members of a zip file, read in place and to a limit.
* :mod:`data.tables`: users, items and ratings; CSV or Parquet files to such tables.
* :mod:`data.movielens`: MovieLens-100K with film attributes, its splits u1 to u5,
  and MovieLens-1M.
* :mod:`data.lastfm`: Last.FM, implicit labels for TaNP.
* :mod:`data.public`: Flixster, Douban, YahooMusic with their published splits.
* :mod:`data.splits`: strict item-cold, user-cold, both-cold and warm splits.
* :mod:`data.episode_split`: few-shot tasks for TaNP, by its authors' rule.
* :mod:`data.synthetic`: small seeded tables whose right answer is known.
* :mod:`data.zipf`: large seeded tables as arrays, for measurements of speed.

Import submodules by name, from the root of the repository::

    from data.splits import split

Never write a bare ``import data``: PyG's favourite variable has that name. The
package stays out of the wheel for the same reason.
"""
