"""Rows of the Parquet tables as typed dictionaries; they mirror `schemas`, which says what the columns mean."""

from typing import NotRequired, TypedDict


class PlaceRow(TypedDict):
    """Where a source image lies; an empty path means the candidate tar of the same class."""

    key: str
    path: str
    offset: int
    num_bytes: int
    in_tar: bool


class IndexRow(PlaceRow):
    """A row of `schemas.INDEX`."""

    stamp: int


class SourceRow(TypedDict):
    """Names a source image."""

    source_uri: str
    source_sha256: str


class CandidateRow(PlaceRow, SourceRow):
    """A row of `schemas.CANDIDATES`.

    Attributes:
        member: name of its file in the candidate tar that is being written; never stored.
    """

    position: int
    member: NotRequired[str]


class ScoreRow(TypedDict):
    """A row of `schemas.SCORES`."""

    position: int
    boxes: list[int]
    scores_nats: list[float]


class ClassedCandidate(CandidateRow):
    """A candidate with the index of its class."""

    class_index: int


class ScoredCandidate(CandidateRow, ScoreRow):
    """A candidate with its boxes and scores."""


class PatchRow(SourceRow):
    """A patch: its place in a distilled image, and the box of the source image that it shows."""

    quadrant: int
    rank: int
    box_top: int
    box_left: int
    box_height: int
    box_width: int
    score_nats: float | None


class SelectedRow(PatchRow):
    """A row of `schemas.SELECTED`."""

    number: int
    position: int


class SelectedCandidate(CandidateRow, SelectedRow):
    """A selected patch with the place of the candidate that it is cut from."""


class LineageRow(PatchRow):
    """A row of `schemas.LINEAGE`."""

    key: str
    class_index: int


class PublishedPatch(LineageRow):
    """A row of lineage with the folder of its class."""

    folder: str
