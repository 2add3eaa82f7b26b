"""Pages of results: parts made in Python, and one template for all of them."""
