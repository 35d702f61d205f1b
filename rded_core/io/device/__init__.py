"""Work on a CPU or GPU: memory, uploads, graphs, decoding, scoring and labelling."""
