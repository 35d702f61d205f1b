"""The errors that end in one line: a user's mistake, and what no line of ours can help; and the text of others."""


class InputError(ValueError):
    """What the user gave cannot work; the message says what, where and what to do, in one line.

    The command line prints the message alone and exits with 2; anything else is a defect and keeps its traceback.
    """


class RunStopped(RuntimeError):
    """Something outside stopped the run, and nothing is lost; the message says what, and how to go on, in one line.

    The command line prints the message alone and exits with 1.
    """


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text, or its class where it has none: messages are of one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
