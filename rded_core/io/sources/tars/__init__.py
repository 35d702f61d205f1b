"""WebDataset tars: patterns of their names, members with links resolved, samples, class names."""
