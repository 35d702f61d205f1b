"""Checks of a dataset and its run against their records."""
