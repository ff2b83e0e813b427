"""The kinds of CAPTCHA that can be solved here: a new one is a row.

Lifetimes and error codes of ``siteverify`` are those that the vendors document.
"""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from tidegate.records import ChallengeKind


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind. ``ttl_s`` is how long a token lives after it was solved; the rest is what tokens look like.

    ``expired_code``, ``used_code`` and ``mismatch_code`` are what ``siteverify`` answers for a token that is
    too old, that was verified before, or that belongs to another sitekey.
    """

    name: ChallengeKind
    ttl_s: float
    prefix: str
    token_bytes: int
    expired_code: str = "timeout-or-duplicate"
    used_code: str = "timeout-or-duplicate"
    mismatch_code: str = "invalid-input-response"


_ROWS = (
    Kind(name=ChallengeKind.RECAPTCHA_V2, ttl_s=120.0, prefix="03AFcWeA", token_bytes=360),
    Kind(
        name=ChallengeKind.HCAPTCHA,
        ttl_s=120.0,
        prefix="P1_",
        token_bytes=480,
        expired_code="expired-input-response",
        used_code="already-seen-response",
        mismatch_code="sitekey-secret-mismatch",
    ),
    Kind(name=ChallengeKind.TURNSTILE, ttl_s=300.0, prefix="0.", token_bytes=300),
)

KINDS: Mapping[ChallengeKind, Kind] = MappingProxyType({row.name: row for row in _ROWS})
