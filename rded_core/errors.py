"""The errors that end in one line: a user's mistake, and what no line of ours can help; and the text of others."""

from rded_core.text.secrets import mask_secrets


class InputError(ValueError):
    """What the user gave cannot work; the message says what, where and what to do, in one line.

    The command line prints the message alone and exits with 2; anything else is a defect and keeps its traceback.
    Secrets that a storage's own error brought into the message are masked.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(mask_secrets(message))


class RunStopped(RuntimeError):
    """Something outside stopped the run, and nothing is lost; the message says what, and how to go on, in one line.

    The command line prints the message alone and exits with 1.
    """


class StageFailed(RuntimeError):
    """An error that nobody foresaw, raised on with the name of the task run that it came up in; it keeps its traceback.

    Its cause is the error itself.
    """


def describe_failure(task_run: str, error: BaseException) -> str:
    """Says in one line which task run failed, why, and what to do: ``score 0010-0019 failed: OSError: ...``."""
    text = first_line(error)
    why = text if text == type(error).__name__ else f"{type(error).__name__}: {text}"
    return f"{task_run} failed: {why}; the same run again goes on where it stopped"


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text, secrets masked, or its class where it has none."""
    return mask_secrets(next(iter(str(error).strip().splitlines()), type(error).__name__))
