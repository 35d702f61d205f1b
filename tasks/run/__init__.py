"""One run: its plan, lock, worklist, networks and index."""
