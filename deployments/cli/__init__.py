"""The command line: one file per group of commands, and the reports they print."""
