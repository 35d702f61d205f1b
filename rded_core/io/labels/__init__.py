"""The work of `rded labels`: describe, choose and re-encode stored labels."""
