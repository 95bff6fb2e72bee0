"""The error that a tool reports to its user as one sentence, without a traceback."""


class UserError(Exception):
    """An error that the user can correct. The message states what is wrong and what to do."""
