"""Layout of a run folder and a dataset folder; pure paths."""
