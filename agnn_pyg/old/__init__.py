"""The classes that the recommender still uses; goes with its next version."""
