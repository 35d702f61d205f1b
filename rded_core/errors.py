"""The one error class that a user's mistake may raise."""


class InputError(ValueError):
    """What the user gave cannot work; the message says what, where and what to do, in one line.

    The command line prints the message alone and exits with 2; anything else is a defect and keeps its traceback.
    """
