"""The one error class that a user's mistake may raise, and the text of other errors in it."""


class InputError(ValueError):
    """What the user gave cannot work; the message says what, where and what to do, in one line.

    The command line prints the message alone and exits with 2; anything else is a defect and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text, or its class where it has none: messages are of one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
