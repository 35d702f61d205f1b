"""The stages as Prefect tasks: each reads, runs one kernel, writes, and returns a small record."""
