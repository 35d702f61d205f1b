"""Every byte in or out: sources, images, shards, tables, weights, and the run folder."""
