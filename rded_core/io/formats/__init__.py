"""One file per encoding: images, tar shards, Parquet tables, sealed JSON, checksums."""
