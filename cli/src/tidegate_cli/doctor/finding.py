"""What a look found. No finding holds a secret: messages are made of names, numbers and addresses."""

from enum import StrEnum

import msgspec


class Status(StrEnum):
    """How it stands: well, to be looked at, or in the way of work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the report. ``mend`` says what to do, of all that is not well."""

    check: str
    status: Status
    message: str
    mend: str = ""


def ok(check: str, message: str) -> Finding:
    """Return that it is well."""
    return Finding(check=check, status=Status.OK, message=message)


def warn(check: str, message: str, mend: str) -> Finding:
    """Return that somebody should look at it."""
    return Finding(check=check, status=Status.WARN, message=message, mend=mend)


def fail(check: str, message: str, mend: str) -> Finding:
    """Return that it is in the way."""
    return Finding(check=check, status=Status.FAIL, message=message, mend=mend)
