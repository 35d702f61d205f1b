"""A spec and weights become a network whose head fits the classes."""
