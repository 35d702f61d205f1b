"""The flows: order and fan-out of the tasks, nothing else."""
