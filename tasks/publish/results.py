"""Results of all stages of a run, in one record."""

from tasks.labels.labeller import LabelPlan
from tasks.run.results import StageResult


class StageResults:
    """What became of every class in every stage.

    A plain class, so that Prefect does not walk into it.

    Attributes:
        candidates: by class shard, as are `scores`, `selected` and `images`.
        checks: of the observer, and of the teacher where it is another network.
        labels: by block of epochs.
        chosen: which labels are stored; None while a class has no images.
    """

    def __init__(
        self,
        *,
        candidates: list[StageResult],
        checks: list[StageResult],
        scores: list[StageResult],
        selected: list[StageResult],
        images: list[StageResult],
        labels: list[StageResult],
        chosen: LabelPlan | None,
    ) -> None:
        self.candidates, self.checks, self.scores = candidates, checks, scores
        self.selected, self.images, self.labels, self.chosen = selected, images, labels, chosen

    def in_order(self) -> list[StageResult]:
        """Returns all of them in the order of the stages."""
        parts = (self.candidates, self.checks, self.scores, self.selected, self.images, self.labels)
        return [result for part in parts for result in part]
