"""`rded verify`: a run's files checked by digest, and with --deep recomputed."""
