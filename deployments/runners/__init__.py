"""Task runners: threads, processes, Dask or Ray."""
