"""Measurements: each script prints a table, and docs/ keeps the results."""
