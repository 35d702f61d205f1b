"""The former home of `DistilledDataset`, for code written against version 0.1.0; import it from `rded_core`."""

from rded_core.io.dataset.distilled import DistilledDataset

__all__ = ["DistilledDataset"]
