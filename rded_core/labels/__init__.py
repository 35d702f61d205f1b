"""Views and soft labels: recorded augmentations, codecs, quantisation and label budgets."""
