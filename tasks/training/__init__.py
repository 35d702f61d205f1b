"""Observers and students: training and evaluation."""
