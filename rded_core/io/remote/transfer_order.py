"""Which files of a run are sent to a URL, in what order, and which a task needs, by POSIX path below the run."""

from collections.abc import Callable, Collection
from enum import Enum
from itertools import pairwise
from pathlib import Path

from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import LOCK_NAME, RunFolder, stage_and_unit
from rded_core.io.layout.units import block_name


class SendOrder(Enum):
    """Order in which files of a run are sent to a URL: each group is valid only once those before it are there."""

    NOTES, OUTPUTS, RECORDS, SUMS = range(4)


_RUN = RunFolder(Path())

NOTES_TO_FORGET = tuple(path.as_posix() for path in (_RUN.forgotten, _RUN.forgotten_copy, _RUN.forgetting))
"""Paths of the notes of images that must never be used again: they are sent first."""

SUMS_NAME = DatasetFolder(Path()).sums.name

BEING_MADE = tuple(path.parts for path in (_RUN.staged_dataset, _RUN.replaced_dataset))


def send_order(path: str) -> SendOrder:
    """Returns the group in which a file of a run is sent, by its POSIX path below the run folder."""
    if path in NOTES_TO_FORGET:
        return SendOrder.NOTES
    if path.endswith(".json"):
        return SendOrder.RECORDS
    return SendOrder.SUMS if path.rpartition("/")[2] == SUMS_NAME else SendOrder.OUTPUTS


def sums_beside(path: str) -> str:
    """Returns the path of the checksums of a file's dataset; empty for other files and for checksums."""
    dataset = f"/{_RUN.dataset.name}/"
    above, separator, _ = f"/{path}".partition(dataset)
    is_other = not separator or send_order(path) is SendOrder.SUMS
    return "" if is_other else f"{above}{dataset}{SUMS_NAME}".lstrip("/")


def is_sent(path: str) -> bool:
    """Returns True if a file of a run is sent to a URL: not a lock, and not a dataset that is being assembled.

    Paths that lead out of the run folder are not sent.
    """
    parts = path.split("/")
    is_being_made = any(pair in BEING_MADE for pair in pairwise(parts))
    return parts[-1] != LOCK_NAME and not is_being_made and not {"", ".", ".."} & {*parts} and "\\" not in path


def class_files(units: Collection[str]) -> Callable[[str], bool]:
    """Selects the files of some classes, in all stages."""
    return lambda path: stage_and_unit(path)[1] in units


def label_files_of(block: range) -> Callable[[str], bool]:
    """Selects a block's labels, the notes of the images they were made from, and all distilled images."""
    own = (block_name(block), "images-")
    return lambda path: stage_and_unit(path)[0] == "squeeze" or stage_and_unit(path)[1].startswith(own)


def candidate_files(path: str) -> bool:
    """Selects candidates, and the outputs of networks on them."""
    return stage_and_unit(path)[0] in ("candidates", "observe")


def all_but_candidates(path: str) -> bool:
    """Selects all files except the candidates' own tars, which are as large as their share of the source."""
    return not (stage_and_unit(path)[0] == "candidates" and path.endswith(".tar"))
