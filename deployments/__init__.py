"""What people start: the command line and presets."""
