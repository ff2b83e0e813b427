"""The vendors, as a table: how each spells what all of them do. A new vendor is a row.

Spellings and error codes follow the vendors' documentation; prices are this simulator's own, in whole
micro-dollars. Where little is known of a vendor (uCaptcha), the row invents no field.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from tidegate.records import ChallengeKind

V2, HC, TS = ChallengeKind.RECAPTCHA_V2, ChallengeKind.HCAPTCHA, ChallengeKind.TURNSTILE


class Fault(StrEnum):
    """Why a request is refused, before a vendor's spelling of it."""

    BAD_REQUEST = "bad_request"
    NO_SUCH_METHOD = "no_such_method"
    KEY_UNKNOWN = "key_unknown"
    ZERO_BALANCE = "zero_balance"
    NO_SLOT = "no_slot"
    BANNED = "banned"
    TOO_FAST = "too_fast"
    TASK_ABSENT = "task_absent"
    NOT_SUPPORTED = "not_supported"
    BAD_URL = "bad_url"
    BAD_SITEKEY = "bad_sitekey"
    NO_SUCH_TASK = "no_such_task"
    UNSOLVABLE = "unsolvable"


class Family(StrEnum):
    """The two wire families."""

    CREATE_TASK = "createTask/getTaskResult"
    IN_PHP = "in.php/res.php"


class Envelope(StrEnum):
    """What surrounds a result of the createTask family."""

    PLAIN = "plain"
    CAPSOLVER = "capsolver"
    WORKERS = "workers"
    CAPMONSTER = "capmonster"


class Window(StrEnum):
    """From when on a vendor counts how long it keeps a result."""

    CREATED = "created"
    READY = "ready"


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor.

    ``types`` maps its task types (or methods of in.php) to kinds. ``solution`` names the fields of a ready
    answer by kind. ``error_ids`` numbers the codes (1 where a code has none); ``error_status`` is the HTTP
    status of a code (200 where it has none). ``reports`` maps paths to good, bad or feedback.
    """

    name: str
    family: Family
    envelope: Envelope = Envelope.PLAIN
    uuid_ids: bool = False
    types: Mapping[str, ChallengeKind]
    solution: Mapping[ChallengeKind, tuple[str, ...]] = {}
    prices: Mapping[ChallengeKind, int]
    codes: Mapping[Fault, str]
    error_ids: Mapping[str, int] = {}
    error_status: Mapping[str, int] = {}
    reports: Mapping[str, str] = {}
    charges_failures: bool = False
    sells_threads: bool = False
    window_s: float = 300.0
    window_from: Window = Window.CREATED
    least_interval_s: float = 5.0
    most_polls: int = 120
    ban_s: float = 600.0


_WORKER_IDS = {
    "ERROR_KEY_DOES_NOT_EXIST": 1,
    "ERROR_NO_SLOT_AVAILABLE": 2,
    "ERROR_ZERO_CAPTCHA_FILESIZE": 3,
    "ERROR_TOO_BIG_CAPTCHA_FILESIZE": 4,
    "ERROR_ZERO_BALANCE": 10,
    "ERROR_IP_NOT_ALLOWED": 11,
    "ERROR_CAPTCHA_UNSOLVABLE": 12,
    "ERROR_BAD_DUPLICATES": 13,
    "ERROR_NO_SUCH_METHOD": 14,
    "ERROR_IMAGE_TYPE_NOT_SUPPORTED": 15,
    "ERROR_NO_SUCH_CAPCHA_ID": 16,
    "ERROR_EMPTY_COMMENT": 20,
    "ERROR_IP_BLOCKED": 21,
    "ERROR_TASK_ABSENT": 22,
    "ERROR_TASK_NOT_SUPPORTED": 23,
    "ERROR_INCORRECT_SESSION_DATA": 24,
    "ERROR_PROXY_CONNECT_REFUSED": 25,
    "ERROR_PROXY_CONNECT_TIMEOUT": 26,
    "ERROR_PROXY_READ_TIMEOUT": 27,
    "ERROR_PROXY_BANNED": 28,
    "ERROR_PROXY_TRANSPARENT": 29,
    "ERROR_RECAPTCHA_TIMEOUT": 30,
    "ERROR_RECAPTCHA_INVALID_SITEKEY": 31,
    "ERROR_RECAPTCHA_INVALID_DOMAIN": 32,
    "ERROR_RECAPTCHA_OLD_BROWSER": 33,
    "ERROR_TOKEN_EXPIRED": 34,
    "ERROR_PROXY_HAS_NO_IMAGE_SUPPORT": 35,
    "ERROR_PROXY_INCOMPATIBLE_HTTP_VERSION": 36,
    "ERROR_PROXY_NOT_AUTHORISED": 49,
    "ERROR_FUNCAPTCHA_NOT_ALLOWED": 50,
    "ERROR_INVISIBLE_RECAPTCHA": 51,
    "ERROR_FAILED_LOADING_WIDGET": 52,
}

_WORKER_CODES = {
    Fault.BAD_REQUEST: "ERROR_TASK_ABSENT",
    Fault.NO_SUCH_METHOD: "ERROR_NO_SUCH_METHOD",
    Fault.KEY_UNKNOWN: "ERROR_KEY_DOES_NOT_EXIST",
    Fault.ZERO_BALANCE: "ERROR_ZERO_BALANCE",
    Fault.NO_SLOT: "ERROR_NO_SLOT_AVAILABLE",
    Fault.BANNED: "ERROR_IP_BLOCKED",
    Fault.TOO_FAST: "ERROR_IP_BLOCKED",
    Fault.TASK_ABSENT: "ERROR_TASK_ABSENT",
    Fault.NOT_SUPPORTED: "ERROR_TASK_NOT_SUPPORTED",
    Fault.BAD_URL: "ERROR_RECAPTCHA_INVALID_DOMAIN",
    Fault.BAD_SITEKEY: "ERROR_RECAPTCHA_INVALID_SITEKEY",
    Fault.NO_SUCH_TASK: "ERROR_NO_SUCH_CAPCHA_ID",
    Fault.UNSOLVABLE: "ERROR_CAPTCHA_UNSOLVABLE",
}

_CAPMONSTER_CODES = {
    **_WORKER_CODES,
    Fault.BANNED: "ERROR_IP_BANNED",
    Fault.TOO_FAST: "ERROR_TOO_MUCH_REQUESTS",
}

_CAPSOLVER_CODES = {
    Fault.BAD_REQUEST: "ERROR_BAD_REQUEST",
    Fault.NO_SUCH_METHOD: "ERROR_BAD_REQUEST",
    Fault.KEY_UNKNOWN: "ERROR_KEY_DENIED_ACCESS",
    Fault.ZERO_BALANCE: "ERROR_ZERO_BALANCE",
    Fault.NO_SLOT: "ERROR_SERVICE_UNAVALIABLE",
    Fault.BANNED: "ERROR_KEY_TEMP_BLOCKED",
    Fault.TOO_FAST: "ERROR_RATE_LIMIT",
    Fault.TASK_ABSENT: "ERROR_INVALID_TASK_DATA",
    Fault.NOT_SUPPORTED: "ERROR_TASK_NOT_SUPPORTED",
    Fault.BAD_URL: "ERROR_INVALID_TASK_DATA",
    Fault.BAD_SITEKEY: "ERROR_INVALID_TASK_DATA",
    Fault.NO_SUCH_TASK: "ERROR_TASKID_INVALID",
    Fault.UNSOLVABLE: "ERROR_CAPTCHA_UNSOLVABLE",
}

_FORM_CODES = {
    Fault.BAD_REQUEST: "ERROR_BAD_PARAMETERS",
    Fault.NO_SUCH_METHOD: "ERROR_EMPTY_ACTION",
    Fault.KEY_UNKNOWN: "ERROR_KEY_DOES_NOT_EXIST",
    Fault.ZERO_BALANCE: "ERROR_ZERO_BALANCE",
    Fault.NO_SLOT: "ERROR_NO_SLOT_AVAILABLE",
    Fault.BANNED: "IP_BANNED",
    Fault.TOO_FAST: "MAX_USER_TURN",
    Fault.TASK_ABSENT: "ERROR_BAD_PARAMETERS",
    Fault.NOT_SUPPORTED: "ERROR_BAD_PARAMETERS",
    Fault.BAD_URL: "ERROR_PAGEURL",
    Fault.BAD_SITEKEY: "ERROR_SITEKEY",
    Fault.NO_SUCH_TASK: "ERROR_WRONG_CAPTCHA_ID",
    Fault.UNSOLVABLE: "ERROR_CAPTCHA_UNSOLVABLE",
}

_CAPSOLVER_TYPES = {
    "ReCaptchaV2TaskProxyLess": V2,
    "ReCaptchaV2Task": V2,
    "HCaptchaTaskProxyLess": HC,
    "HCaptchaTask": HC,
    "AntiTurnstileTaskProxyLess": TS,
}
_TWOCAPTCHA_TYPES = {
    "RecaptchaV2TaskProxyless": V2,
    "RecaptchaV2Task": V2,
    "HCaptchaTaskProxyless": HC,
    "HCaptchaTask": HC,
    "TurnstileTaskProxyless": TS,
    "TurnstileTask": TS,
}
_ANTICAPTCHA_TYPES = {**_TWOCAPTCHA_TYPES, "NoCaptchaTaskProxyless": V2, "NoCaptchaTask": V2}
_CAPMONSTER_TYPES = {
    "RecaptchaV2Task": V2,
    "NoCaptchaTask": V2,
    "NoCaptchaTaskProxyless": V2,
    "HCaptchaTask": HC,
    "TurnstileTask": TS,
}
_FORM_METHODS = {"userrecaptcha": V2, "hcaptcha": HC, "turnstile": TS}

_RECAPTCHA_ONLY = ("gRecaptchaResponse",)
_HCAPTCHA = ("gRecaptchaResponse", "respKey", "userAgent")
_TURNSTILE = ("token", "userAgent")

_ROWS = (
    Vendor(
        name="ucaptcha",
        family=Family.CREATE_TASK,
        uuid_ids=True,
        types={**_ANTICAPTCHA_TYPES, **_CAPSOLVER_TYPES},
        solution={V2: _RECAPTCHA_ONLY, HC: _RECAPTCHA_ONLY, TS: _RECAPTCHA_ONLY},
        prices={V2: 1_000, HC: 1_500, TS: 1_000},
        codes=_WORKER_CODES,
    ),
    Vendor(
        name="capsolver",
        family=Family.CREATE_TASK,
        envelope=Envelope.CAPSOLVER,
        uuid_ids=True,
        types=_CAPSOLVER_TYPES,
        solution={
            V2: ("gRecaptchaResponse", "userAgent"),
            HC: _HCAPTCHA,
            TS: ("token", "type", "userAgent"),
        },
        prices={V2: 800, HC: 800, TS: 600},
        codes=_CAPSOLVER_CODES,
        error_status={
            **dict.fromkeys(_CAPSOLVER_CODES.values(), 400),
            "ERROR_KEY_DENIED_ACCESS": 401,
            "ERROR_KEY_TEMP_BLOCKED": 401,
        },
        reports={"/feedbackTask": "feedback"},
        least_interval_s=3.0,
        ban_s=300.0,
    ),
    Vendor(
        name="2captcha",
        family=Family.CREATE_TASK,
        envelope=Envelope.WORKERS,
        types=_TWOCAPTCHA_TYPES,
        solution={V2: ("gRecaptchaResponse", "token"), HC: (*_HCAPTCHA, "token"), TS: _TURNSTILE},
        prices={V2: 2_990, HC: 2_990, TS: 1_450},
        codes=_WORKER_CODES,
        error_ids=_WORKER_IDS,
        reports={"/reportCorrect": "good", "/reportIncorrect": "bad"},
        window_s=600.0,
    ),
    Vendor(
        name="anticaptcha",
        family=Family.CREATE_TASK,
        envelope=Envelope.WORKERS,
        types=_ANTICAPTCHA_TYPES,
        solution={V2: _RECAPTCHA_ONLY, HC: _HCAPTCHA, TS: _TURNSTILE},
        prices={V2: 2_000, HC: 2_000, TS: 2_000},
        codes=_WORKER_CODES,
        error_ids=_WORKER_IDS,
        reports={
            "/reportCorrectRecaptcha": "good",
            "/reportIncorrectRecaptcha": "bad",
            "/reportIncorrectHcaptcha": "bad",
        },
        charges_failures=True,
        window_s=60.0,
        window_from=Window.READY,
    ),
    Vendor(
        name="capmonster",
        family=Family.CREATE_TASK,
        envelope=Envelope.CAPMONSTER,
        types=_CAPMONSTER_TYPES,
        solution={V2: _RECAPTCHA_ONLY, HC: _HCAPTCHA, TS: _TURNSTILE},
        prices={V2: 600, HC: 1_200, TS: 1_300},
        codes=_CAPMONSTER_CODES,
        reports={
            "/reportIncorrectTokenCaptcha": "bad",
            "/reportIncorrectRecaptcha": "bad",
            "/reportIncorrectHcaptcha": "bad",
        },
        least_interval_s=2.0,
    ),
    Vendor(
        name="2captcha-legacy",
        family=Family.IN_PHP,
        types=_FORM_METHODS,
        prices={V2: 2_990, HC: 2_990, TS: 1_450},
        codes=_FORM_CODES,
        reports={"reportgood": "good", "reportbad": "bad"},
        window_s=600.0,
    ),
    Vendor(
        name="captchaai",
        family=Family.IN_PHP,
        types=_FORM_METHODS,
        prices={V2: 0, HC: 0, TS: 0},
        codes=_FORM_CODES,
        sells_threads=True,
        window_s=600.0,
    ),
)

VENDORS: Mapping[str, Vendor] = MappingProxyType({row.name: row for row in _ROWS})
