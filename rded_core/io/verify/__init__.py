"""Whether a dataset and its run still match their records."""
