"""Scripts that measure: each prints a table, and docs/ keeps what they printed."""
