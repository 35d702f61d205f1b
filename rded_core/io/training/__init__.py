"""Batches of real images and of views for training, and checkpoints."""
