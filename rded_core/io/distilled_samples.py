"""One distilled image as a WebDataset sample."""

import json

from rded_core.io.shards import Sample
from rded_core.io.sources import SourceClass


def encode_sample(key: str, image: dict[str, bytes], *, label: SourceClass, source_uris: list[str]) -> Sample:
    """Adds ``.cls`` (the class index) and ``.json`` (key, class, source of each quadrant) to an encoded image."""
    described = {"key": key, "class_index": label.index, "class_name": label.name, "source_uris": source_uris}
    return key, {
        **image,
        "cls": str(label.index).encode(),
        "json": json.dumps(described, sort_keys=True, ensure_ascii=False).encode(),
    }
