"""The base classes of all errors that a client can see, with their HTTP status."""

from typing import ClassVar


class BankError(Exception):
    """A rejected request. The message is one sentence that tells the client what to do; nothing was changed."""

    status: ClassVar[int] = 400


class NotAuthenticated(BankError):
    """The request has no credentials, or invalid ones."""

    status = 401


class Forbidden(BankError):
    """The caller is not allowed to do this, or no caller is at the moment."""

    status = 403


class NotFound(BankError):
    """The resource does not exist, or the caller has no access to it."""

    status = 404


class Busy(BankError):
    """The bank can't process the request now; the same request may succeed in a few seconds."""

    status = 503
    retry_after: ClassVar[int] = 2


class DatabaseFull(Busy):
    """The database has no disk space for what the request would record."""

    retry_after: ClassVar[int] = 10
