"""A run folder's own records: run.json, manifest, lock, inventory."""
