"""The `rded labels` command's work: describe, choose and re-encode stored labels."""
