"""The image stages: draw, check, score, select, tile."""
