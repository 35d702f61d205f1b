"""Lineage: from a distilled image to its source images, and back."""
