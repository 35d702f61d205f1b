"""The stages as Prefect tasks, one file each: read, one kernel, write, return a small record."""
