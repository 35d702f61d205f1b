"""Errors reported in one line (a user's mistake, a stop from outside), and the text of all others."""

from rded_core.text.secrets import mask_secrets


class InputError(ValueError):
    """Invalid input from the user; the message says in one line what is wrong, where, and what to do.

    The command line prints only the message and exits with 2; any other error is a defect and keeps its traceback.
    Secrets that a storage library's error brought into the message are masked.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(mask_secrets(message))


class OutInUse(InputError):
    """Another process is writing to OUT; the message names it. A scheduled refresh is skipped."""


class RunStopped(RuntimeError):
    """Something outside stopped the run, and nothing is lost; the message says in one line what, and how to resume.

    The command line prints only the message and exits with 1.
    """


class StageFailed(RuntimeError):
    """An unexpected error in a task run, raised again with the name of that task run; it keeps its traceback.

    Its cause is the original error.
    """


def describe_failure(task_run: str, error: BaseException) -> str:
    """Returns one line: which task run failed, why, and what to do: ``score 0010-0019 failed: OSError: ...``."""
    text = first_line(error)
    why = text if text == type(error).__name__ else f"{type(error).__name__}: {text}"
    return f"{task_run} failed: {why}; start the same run again to resume it"


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text with secrets masked, or the name of its class if it has no text."""
    return mask_secrets(next(iter(str(error).strip().splitlines()), type(error).__name__))
