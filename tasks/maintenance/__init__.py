"""After a run: verify, recompute, repair, redo, forget, refresh."""
