"""The kinds of CAPTCHA that can be solved here: a new one is a row.

Lifetimes and error codes of ``siteverify`` are those that the vendors document; where they document none,
a row says what is assumed.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from tidegate.records import ChallengeKind


class Shape(StrEnum):
    """What an answer is made of."""

    PLAIN = "plain"
    TEXT = "text"
    GEETEST_3 = "geetest_3"
    GEETEST_4 = "geetest_4"
    COOKIE = "cookie"


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind. ``ttl_s`` is how long an answer lives after it was solved; the rest is what it looks like.

    ``keys`` are the vendors' names of what the answer is bound to, beside the host; ``needs`` are the fields
    without which an order is refused, alternatives between bars. ``cookie`` names the cookie of a clearance.
    ``expired_code``, ``used_code`` and ``mismatch_code`` are what ``siteverify`` answers for a token that is
    too old, that was verified before, or that belongs to another sitekey.
    """

    name: ChallengeKind
    ttl_s: float
    prefix: str
    token_bytes: int
    shape: Shape = Shape.PLAIN
    keys: tuple[str, ...] = ("websiteKey", "sitekey", "googlekey")
    key_needed: bool = True
    url_needed: bool = True
    needs: tuple[str, ...] = ()
    needs_proxy: bool = False
    cookie: str = ""
    expired_code: str = "timeout-or-duplicate"
    used_code: str = "timeout-or-duplicate"
    mismatch_code: str = "invalid-input-response"


_ROWS = (
    Kind(name=ChallengeKind.RECAPTCHA_V2, ttl_s=120.0, prefix="03AFcWeA", token_bytes=360),
    Kind(name=ChallengeKind.RECAPTCHA_V2_ENTERPRISE, ttl_s=120.0, prefix="03AFcWeB", token_bytes=360),
    Kind(name=ChallengeKind.RECAPTCHA_V3, ttl_s=120.0, prefix="03AFcWeC", token_bytes=360),
    Kind(name=ChallengeKind.RECAPTCHA_V3_ENTERPRISE, ttl_s=120.0, prefix="03AFcWeD", token_bytes=360),
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
    # The site's clearance of 30 minutes begins when it takes the cookie; until then it lives 300 s: assumed.
    Kind(
        name=ChallengeKind.CLOUDFLARE_CHALLENGE,
        ttl_s=300.0,
        prefix="cf.",
        token_bytes=120,
        shape=Shape.COOKIE,
        key_needed=False,
        needs_proxy=True,
        cookie="cf_clearance",
    ),
    Kind(
        name=ChallengeKind.GEETEST_V3,
        ttl_s=120.0,
        prefix="",
        token_bytes=24,
        shape=Shape.GEETEST_3,
        keys=("gt",),
        needs=("challenge",),
    ),
    Kind(
        name=ChallengeKind.GEETEST_V4,
        ttl_s=120.0,
        prefix="",
        token_bytes=48,
        shape=Shape.GEETEST_4,
        keys=("captchaId", "initParameters.captcha_id", "captcha_id", "gt"),
    ),
    Kind(
        name=ChallengeKind.FUNCAPTCHA,
        ttl_s=120.0,
        prefix="42.",
        token_bytes=60,
        keys=("websitePublicKey", "publickey"),
    ),
    Kind(
        name=ChallengeKind.AWS_WAF,
        ttl_s=300.0,
        prefix="aws:",
        token_bytes=150,
        shape=Shape.COOKIE,
        keys=("websiteKey", "awsKey", "sitekey"),
        key_needed=False,
        cookie="aws-waf-token",
    ),
    Kind(
        name=ChallengeKind.DATADOME,
        ttl_s=300.0,
        prefix="dd~",
        token_bytes=90,
        shape=Shape.COOKIE,
        keys=(),
        key_needed=False,
        needs=("captchaUrl|captcha_url|metadata.captchaUrl", "userAgent|metadata.userAgent"),
        needs_proxy=True,
        cookie="datadome",
    ),
    Kind(
        name=ChallengeKind.IMAGE,
        ttl_s=300.0,
        prefix="",
        token_bytes=6,
        shape=Shape.TEXT,
        keys=(),
        key_needed=False,
        url_needed=False,
        needs=("body",),
    ),
)

KINDS: Mapping[ChallengeKind, Kind] = MappingProxyType({row.name: row for row in _ROWS})
