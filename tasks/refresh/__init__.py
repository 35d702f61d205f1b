"""The scheduled refresh: whether anything has changed, and how a refresh that changed nothing ends."""
