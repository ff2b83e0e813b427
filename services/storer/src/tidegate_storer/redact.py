"""Takes secrets out of what is shown to people: rows of dead letters (delivery.md O7). Pure.

The topic keeps the original bytes, for those who may read it; the row is for finding out why. So when in
doubt it goes: a secret too many removed costs a question, one too few costs an account.
"""

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from tidegate.sites import REMOVED, without_credentials

MAX_CHARACTERS = 64 * 1024
_MAX_DEPTH = 16

_NAMES = (
    r"authorization|cookies?|set[-_]?cookies?|passwords?|passwd|pwd|secrets?|tokens?|credentials?|signature|"
    r"session[-_]?id|(?:x[-_])?api[-_]?keys?|access[-_]?keys?|private[-_]?keys?"
)
# A name is a secret's when it is one of these, or ends with one: x-auth-token, client_secret. The lengths are
# bounded and a name begins where a word does, or garbage would cost the square of its length.
_SECRET = rf"(?:[\w.-]{{0,40}}[-_.])?(?:{_NAMES}|auth|sig|key)|\w{{0,40}}(?:password|token|secret|apikey)"
_SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
# User and password; those too whose password has a slash in it, which then reads like a host and a port.
_URL_USER = re.compile(
    r"(?<=://)(?:[^/?#\s\"'<>]*@|[^/?#\s\"'<>:@\[]*:(?!\d{1,5}(?:[/?#]|$))[^\s\"'<>]{0,256}@)"
)
# The value of an Authorization header that lost its name.
_SCHEME_VALUE = re.compile(r"\b(Bearer|Basic|Digest|Token)(\s{1,8})[\w.~+/=-]{6,}", re.IGNORECASE)
_QUERY_SECRET = re.compile(rf"([?&;](?:{_SECRET})=)[^&#\s\"'<>]+", re.IGNORECASE)
# A quoted value without an end on its line reaches to the end of the text: what looks like its end further on
# may begin the next value. No character of it is looked at twice.
_HEADER_LINE = re.compile(
    rf"((?<![\w.-])(?:{_SECRET})\\?[\"']?\s{{0,8}}[:=]\s{{0,8}})"
    r"(?:\\?\"(?:[^\"\\\r\n]|\\[^\r\n])*+(?:\\?\"|[\s\S]*+)|'[^'\r\n]*+(?:'|[\s\S]*+)|[^\r\n,}]+)",
    re.IGNORECASE,
)


def url(text: str) -> str:
    """Return a URL without user, password, fragment and the values of secret parameters.

    What is none, because a producer sent something else in its place, is scrubbed as any text.
    """
    if "://" not in text or not text.isprintable() or " " in text:
        return scrub(text)
    try:
        clean = without_credentials(_URL_USER.sub("", text))
    except ValueError:
        return scrub(text)
    return _QUERY_SECRET.sub(rf"\1{REMOVED}", clean)


def scrub(text: str) -> str:
    """Return a text without what looks like a secret: headers, named values, credentials in URLs."""
    text = _SCHEME_VALUE.sub(rf"\1\2{REMOVED}", _URL_USER.sub("", text))
    text = _QUERY_SECRET.sub(rf"\1{REMOVED}", text)
    return _HEADER_LINE.sub(rf"\1{REMOVED}", text)


def original(data: bytes) -> str:
    """Return a job's original bytes as redacted text of at most 65,536 characters.

    Cut before it is searched, so that ten megabytes of garbage cost no more than one page.
    """
    if len(data) <= MAX_CHARACTERS:
        try:
            job = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            if isinstance(job, dict):
                return msgspec.json.encode(_job(job)).decode()[:MAX_CHARACTERS]
    return scrub(data[:MAX_CHARACTERS].decode(errors="replace"))[:MAX_CHARACTERS]


def _job(job: dict[str, Any]) -> Any:
    """Redact a job; its request body goes whole, because a log-in is a request body."""
    clean = _value(job, 0)
    if isinstance(job.get("body"), str):
        clean["body"] = f"[removed: {len(job['body'])} characters]"
    return clean


def _value(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return REMOVED
    if isinstance(value, dict):
        return {
            name: REMOVED if _SECRET_NAME.fullmatch(name) and item else _value(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_value(item, depth + 1) for item in value]
    if isinstance(value, str):
        return _string(value)
    return value


def _string(text: str) -> str:
    if "://" not in text:
        return scrub(text)
    try:
        parts = urlsplit(_URL_USER.sub("", text))
    except ValueError:
        return scrub(text)
    if not (parts.scheme and parts.netloc) or any(c.isspace() for c in text):
        return scrub(text)
    bare = urlunsplit(
        (parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, parts.fragment)
    )
    return _QUERY_SECRET.sub(rf"\1{REMOVED}", bare)
