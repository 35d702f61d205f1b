"""Results of all stages of a run, in one record."""

from tasks.labels.labeller import LabelPlan
from tasks.run.results import StageResult


class StageResults:
    """Results of every class in every stage.

    A plain class, so that Prefect does not traverse it.

    Attributes:
        candidates: results by class shard, as in `scores`, `selected` and `images`.
        checks: results of the observer's check, and of the teacher's if that is a different network.
        labels: results by block of epochs.
        chosen: plan of the labels to store; None while a class has no images.
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
        """Returns all results in the order of the stages."""
        parts = (self.candidates, self.checks, self.scores, self.selected, self.images, self.labels)
        return [result for part in parts for result in part]
