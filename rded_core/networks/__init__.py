"""Classifiers by name, their fast forms, and the preprocessing they expect."""

from rded_core.networks.preprocessing import Preprocessing
from rded_core.networks.zoo import ConvNet, build_network, network_names

__all__ = ["ConvNet", "Preprocessing", "build_network", "network_names"]
