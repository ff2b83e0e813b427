"""What each kind of challenge needs to be solved, what its answer is, and how long both live. Data only.

Parameters are ``Challenge.params``; names are ours, the solver maps them to each vendor's:

  sitekey       the public key of the widget (reCAPTCHA, hCaptcha, Turnstile, Arkose: ``data-pkey``)
  invisible     "true" where the widget shows nothing until it doubts the visitor
  action        the page's name for what is done (reCAPTCHA v3, Enterprise, Turnstile);
                of AWS WAF "captcha" or "challenge"
  cdata         Turnstile's customer data
  page_data     Cloudflare's ``chlPageData`` of a Turnstile on a challenge page
  data_s        Google's ``data-s``, good for one use
  enterprise    the further payload of reCAPTCHA Enterprise, a JSON object: ``{"s": ...}``
  rqdata        hCaptcha Enterprise's request data
  api_domain    the host of the widget's script where it is not the usual one (recaptcha.net)
  gt, challenge GeeTest 3: the account's key, and a challenge that is good for one use
  captcha_id    GeeTest 4
  api_server    GeeTest's own server where the page names another
  surl, blob    Arkose: the service's address, and data that the site made for this session
  key, iv, context, challenge_script, captcha_script
                AWS WAF: ``gokuProps`` and the scripts beside it
  captcha_url   DataDome: the address of its frame, whole
  image_url, image
                an image captcha: where it is, and its bytes in base64
  html          the challenge page itself, where a solving service wants it

Lifetimes are the vendors' where they document one; the others are assumed, and say so.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from tidegate.records import ChallengeKind


class AnswerKind(StrEnum):
    """What a solver brings: ``CaptchaSolution.token``, ``values`` or ``cookies``; text is a token to type."""

    TOKEN = "token"  # noqa: S105 -- the name of a kind
    TEXT = "text"
    VALUES = "values"
    COOKIES = "cookies"


class KindFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One kind.

    ``required`` are the parameters without which nothing can be bought. ``fields`` are the form fields in
    which a site expects the answer: each takes the whole token, or its own part of ``values``. ``cookies``
    are those of a clearance. ``bound`` means that the answer holds for one address and one user agent: the
    solver has to come from the fetcher's proxy. ``challenge_life_s`` is how long the challenge waits for its
    answer (None: for ever), ``answer_life_s`` how long an answer is good once it was made, both in seconds.
    """

    answer: AnswerKind
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    bound: bool = False
    challenge_life_s: float | None = None
    answer_life_s: float


_RECAPTCHA = ("g-recaptcha-response",)

FACTS: Mapping[ChallengeKind, KindFacts] = MappingProxyType(
    {
        # developers.google.com/recaptcha/docs/verify: 120 s, once.
        ChallengeKind.RECAPTCHA_V2: KindFacts(
            answer=AnswerKind.TOKEN,
            required=("sitekey",),
            optional=("invisible", "data_s", "api_domain"),
            fields=_RECAPTCHA,
            answer_life_s=120.0,
        ),
        ChallengeKind.RECAPTCHA_V2_ENTERPRISE: KindFacts(
            answer=AnswerKind.TOKEN,
            required=("sitekey",),
            optional=("invisible", "action", "enterprise", "api_domain"),
            fields=_RECAPTCHA,
            answer_life_s=120.0,
        ),
        ChallengeKind.RECAPTCHA_V3: KindFacts(
            answer=AnswerKind.TOKEN,
            required=("sitekey",),
            optional=("action", "api_domain"),
            fields=_RECAPTCHA,
            answer_life_s=120.0,
        ),
        ChallengeKind.RECAPTCHA_V3_ENTERPRISE: KindFacts(
            answer=AnswerKind.TOKEN,
            required=("sitekey",),
            optional=("action", "enterprise", "api_domain"),
            fields=_RECAPTCHA,
            answer_life_s=120.0,
        ),
        # 120 s is second-hand.
        ChallengeKind.HCAPTCHA: KindFacts(
            answer=AnswerKind.TOKEN,
            required=("sitekey",),
            optional=("invisible", "rqdata"),
            fields=("h-captcha-response", "g-recaptcha-response"),
            answer_life_s=120.0,
        ),
        # developers.cloudflare.com/turnstile, siteverify: 300 s, once, at most 2048 characters.
        ChallengeKind.TURNSTILE: KindFacts(
            answer=AnswerKind.TOKEN,
            required=("sitekey",),
            optional=("action", "cdata", "page_data"),
            fields=("cf-turnstile-response",),
            answer_life_s=300.0,
        ),
        # A clearance of 30 minutes is Cloudflare's default, second-hand; the page's life is assumed.
        ChallengeKind.CLOUDFLARE_CHALLENGE: KindFacts(
            answer=AnswerKind.COOKIES,
            required=("html",),
            optional=("sitekey", "action", "cdata", "page_data"),
            cookies=("cf_clearance",),
            bound=True,
            challenge_life_s=300.0,
            answer_life_s=1800.0,
        ),
        # A challenge is used up by the first widget that loads it, and dies within minutes: assumed 120 s.
        ChallengeKind.GEETEST_V3: KindFacts(
            answer=AnswerKind.VALUES,
            required=("gt", "challenge"),
            optional=("api_server",),
            fields=("geetest_challenge", "geetest_validate", "geetest_seccode"),
            challenge_life_s=120.0,
            answer_life_s=120.0,
        ),
        ChallengeKind.GEETEST_V4: KindFacts(
            answer=AnswerKind.VALUES,
            required=("captcha_id",),
            optional=("api_server",),
            fields=("captcha_id", "lot_number", "pass_token", "gen_time", "captcha_output"),
            answer_life_s=120.0,
        ),
        # "Use immediately" (the vendor); 120 s is assumed.
        ChallengeKind.FUNCAPTCHA: KindFacts(
            answer=AnswerKind.TOKEN,
            required=("sitekey",),
            optional=("surl", "blob"),
            fields=("fc-token",),
            answer_life_s=120.0,
        ),
        # The immunity time of AWS WAF is 300 s unless the site set another; iv and context are one page's.
        ChallengeKind.AWS_WAF: KindFacts(
            answer=AnswerKind.COOKIES,
            required=("action",),
            optional=("key", "iv", "context", "challenge_script", "captcha_script"),
            cookies=("aws-waf-token",),
            challenge_life_s=120.0,
            answer_life_s=300.0,
        ),
        # The cookie rolls with every answer of the site; both lives are assumed.
        ChallengeKind.DATADOME: KindFacts(
            answer=AnswerKind.COOKIES,
            required=("captcha_url",),
            cookies=("datadome",),
            bound=True,
            challenge_life_s=120.0,
            answer_life_s=1800.0,
        ),
        # Until the site's session ends; assumed.
        ChallengeKind.IMAGE: KindFacts(
            answer=AnswerKind.TEXT,
            required=("image",),
            optional=("image_url",),
            challenge_life_s=300.0,
            answer_life_s=300.0,
        ),
    }
)

# Good for one use: a challenge with one of these is not the widget's static key.
_ONE_USE = ("data_s", "enterprise", "rqdata", "blob", "page_data")
_ONE_USE_LIFE_S = 120.0


def life_s(kind: ChallengeKind, params: Mapping[str, str]) -> float | None:
    """Return how long a challenge waits for its answer, in seconds; None is for ever."""
    life = FACTS[kind].challenge_life_s
    if life is None and any(name in params for name in _ONE_USE):
        return _ONE_USE_LIFE_S
    return life
