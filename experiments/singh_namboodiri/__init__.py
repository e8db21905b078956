"""The tables and figures of Singh & Namboodiri, Laplacian Pyramids for Deep Feature Inversion (2015)."""
