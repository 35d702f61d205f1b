"""The errors that end in one line: a user's mistake, and what no line of ours can help."""


class InputError(ValueError):
    """What the user gave cannot work; the message says what, where and what to do, in one line.

    The command line prints the message alone and exits with 2; anything else is a defect and keeps its traceback.
    """


class RunStopped(RuntimeError):
    """Something outside stopped the run, and nothing is lost; the message says what, and how to go on, in one line.

    The command line prints the message alone and exits with 1.
    """
