"""Work on finished runs: verify, recompute, repair, redo, forget, refresh."""
