"""Configs: every number a user may change, checked on construction; one file per flow."""

from rded_core.config.distill import DistillConfig, Rerun
from rded_core.config.evaluate import EvaluateConfig
from rded_core.config.train_observer import TrainObserverConfig

__all__ = ["DistillConfig", "EvaluateConfig", "Rerun", "TrainObserverConfig"]
