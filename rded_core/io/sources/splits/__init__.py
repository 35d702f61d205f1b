"""Splits for training and validation: the words that name them, the files and the folders that belong to them."""
