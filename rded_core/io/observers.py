"""The former home of `open_observer`, for scripts written against version 0.1.0; it is in `networks.observers`."""

from rded_core.io.networks.observers import open_observer

__all__ = ["open_observer"]
