"""Where task runs execute: threads, processes, Dask or Ray."""
