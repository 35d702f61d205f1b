"""Text for people: counts, summaries, and messages with secrets masked."""
