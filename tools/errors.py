"""How a tool tells its user what went wrong: one sentence, no traceback."""


class UserError(Exception):
    """Something the user can put right; its message says what is wrong and what to do."""
