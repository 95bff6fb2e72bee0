"""What the bank answers when it will not do something: every error a user may see starts here."""

from typing import ClassVar


class BankError(Exception):
    """A refusal in one sentence that its reader can act on; nothing was changed."""

    status: ClassVar[int] = 400


class NotAuthenticated(BankError):
    """Nobody is logged in, or not with these credentials."""

    status = 401


class Forbidden(BankError):
    """The caller may not do this, or nobody may now."""

    status = 403


class NotFound(BankError):
    """What the request names is not there, or not there for the caller."""

    status = 404


class Busy(BankError):
    """The bank can't do it now; the same request may succeed in a few seconds."""

    status = 503
    retry_after: ClassVar[int] = 2
