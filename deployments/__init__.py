"""The application that users start: command line, server, task runners and presets."""
