"""Where everything lies in a run folder and a dataset folder; pure paths."""
