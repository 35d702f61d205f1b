"""Training on real images and on views: loop, losses, metrics, schedules and protocols."""
