"""Plain, slow NumPy restatements of what the library computes; nothing here imports it."""
