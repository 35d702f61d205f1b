"""What a processor is given: memory, uploads, graphs, decoding, scoring and labelling."""
