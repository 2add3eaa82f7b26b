"""Raw files to checked tables, and tables to cold-start splits.

* :mod:`data.tables`: users, items and ratings, checked when they meet.
* :mod:`data.readers`: your own CSV or Parquet files to such tables.
* :mod:`data.movielens`: MovieLens-100K with film attributes.
* :mod:`data.movielens_1m`: MovieLens-1M, from GroupLens.
* :mod:`data.lastfm`: Last.FM, implicit labels for TaNP.
* :mod:`data.splits`: strict item-cold, user-cold, both-cold and warm splits.
* :mod:`data.strict`: what a split is, and the check of its coldness.
* :mod:`data.synthetic`: small seeded tables whose right answer is known.
* :mod:`data.tastes`: small seeded implicit feedback, from a mixture of tastes.
* :mod:`data.download`: the cache, its checksums and the offline mirror.
* :mod:`data.workspace`: where a file lies until it is whole.
* :mod:`data.web`: files by their address, through that cache.
* :mod:`data.archives`: members of a zip file, read in place and to a limit.

Import submodules by name, from the root of the repository::

    from data.splits import item_cold

Never write a bare ``import data``: PyG's favourite variable has that name. The
package stays out of the wheel for the same reason.
"""
