"""Parquet sources: which files belong together, what their columns hold, and the images of their rows."""
