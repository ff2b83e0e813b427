"""The vendors, as a table: how each spells what all of them do. A new vendor is a row.

Spellings, error codes and rules follow the vendors' documentation; prices are this simulator's own, in whole
micro-dollars, and so are the numbers of rules that a vendor states without one. Where little is known of a
vendor (uCaptcha), the row invents no field.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from tidegate.records import ChallengeKind

from tidegate_cli.simulator import codes
from tidegate_cli.simulator.codes import Fault

V2, HC, TS = ChallengeKind.RECAPTCHA_V2, ChallengeKind.HCAPTCHA, ChallengeKind.TURNSTILE
V2E, V3 = ChallengeKind.RECAPTCHA_V2_ENTERPRISE, ChallengeKind.RECAPTCHA_V3
V3E, CF = ChallengeKind.RECAPTCHA_V3_ENTERPRISE, ChallengeKind.CLOUDFLARE_CHALLENGE
G3, G4, FC = ChallengeKind.GEETEST_V3, ChallengeKind.GEETEST_V4, ChallengeKind.FUNCAPTCHA
AWS, DD, IMG = ChallengeKind.AWS_WAF, ChallengeKind.DATADOME, ChallengeKind.IMAGE


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


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a vendor bans for, beside polls; each as a number of calls, 0 where it has no such rule.

    ``same_error`` refusals of one code in a row within a minute, ``dead_account`` orders with a bad key or
    without money, ``burst`` orders within 3 s.
    """

    same_error: int = 0
    dead_account: int = 0
    burst: int = 0


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor.

    ``types`` maps its task types (or methods of in.php) to kinds; where a type serves several, other fields
    decide. ``solution`` names the fields of a ready answer by kind, ``name=source`` where they differ;
    ``at_once`` are the kinds that createTask itself answers, ``in_result`` those that res.php answers in
    ``result`` with a user agent.
    ``error_ids`` numbers the codes (1 where a code has none); ``error_status`` is the HTTP status of a code
    (200 where it has none). ``reports`` maps paths to good, bad or feedback. ``hosts`` are its own.
    """

    name: str
    family: Family
    hosts: tuple[str, ...] = ()
    envelope: Envelope = Envelope.PLAIN
    uuid_ids: bool = False
    types: Mapping[str, tuple[ChallengeKind, ...]]
    solution: Mapping[ChallengeKind, tuple[str, ...]] = {}
    at_once: frozenset[ChallengeKind] = frozenset()
    in_result: frozenset[ChallengeKind] = frozenset()
    prices: Mapping[ChallengeKind, int]
    codes: Mapping[Fault, str]
    documented: tuple[str, ...] = ()
    error_ids: Mapping[str, int] = {}
    error_status: Mapping[str, int] = {}
    reports: Mapping[str, str] = {}
    report_window_s: float = 0.0
    charges_failures: bool = False
    sells_threads: bool = False
    window_s: float = 300.0
    window_from: Window = Window.CREATED
    least_interval_s: float = 5.0
    most_polls: int = 120
    ban_s: float = 600.0
    rules: Rules = Rules()

    @property
    def kinds(self) -> frozenset[ChallengeKind]:
        """Every kind that it sells."""
        return frozenset(kind for kinds in self.types.values() for kind in kinds)


def _both(
    name: str, *kinds: ChallengeKind, without: str = "Proxyless"
) -> dict[str, tuple[ChallengeKind, ...]]:
    """Return a type with and without a proxy."""
    return {name: kinds, name + without: kinds}


_CAPSOLVER_TYPES = {
    **_both("ReCaptchaV2Task", V2, without="ProxyLess"),
    **_both("ReCaptchaV2EnterpriseTask", V2E, without="ProxyLess"),
    **_both("ReCaptchaV3Task", V3, without="ProxyLess"),
    **_both("ReCaptchaV3EnterpriseTask", V3E, without="ProxyLess"),
    **_both("HCaptchaTask", HC, without="ProxyLess"),
    "AntiTurnstileTaskProxyLess": (TS,),
    "AntiCloudflareTask": (CF,),
    "GeeTestTaskProxyLess": (G3, G4),
    **_both("AntiAwsWafTask", AWS, without="ProxyLess"),
    "DatadomeSliderTask": (DD,),
    "DataDomeSliderTask": (DD,),
    "ImageToTextTask": (IMG,),
}
_WORKER_TYPES = {
    **_both("RecaptchaV2Task", V2),
    **_both("RecaptchaV2EnterpriseTask", V2E),
    "RecaptchaV3TaskProxyless": (V3, V3E),
    **_both("HCaptchaTask", HC),
    **_both("TurnstileTask", TS),
    **_both("GeeTestTask", G3, G4),
    **_both("FunCaptchaTask", FC),
    "ImageToTextTask": (IMG,),
}
_TWOCAPTCHA_TYPES = {
    **_WORKER_TYPES,
    "RecaptchaV3EnterpriseTaskProxyless": (V3E,),
    "DataDomeSliderTask": (DD,),
}
_ANTICAPTCHA_TYPES = {**_WORKER_TYPES, **_both("NoCaptchaTask", V2), **_both("AmazonTask", AWS)}
_CAPMONSTER_TYPES = {
    "RecaptchaV2Task": (V2,),
    **_both("NoCaptchaTask", V2),
    "RecaptchaV2EnterpriseTask": (V2E,),
    "RecaptchaV3TaskProxyless": (V3,),
    "RecaptchaV3EnterpriseTask": (V3E,),
    "HCaptchaTask": (HC,),
    "TurnstileTask": (TS, CF),
    "GeeTestTask": (G3, G4),
    "FunCaptchaTask": (FC,),
    "AmazonTask": (AWS,),
    "CustomTask": (DD,),
    "ImageToTextTask": (IMG,),
}
_FORM_METHODS = {
    "userrecaptcha": (V2, V2E, V3, V3E),
    "hcaptcha": (HC,),
    "turnstile": (TS,),
    "geetest": (G3,),
    "geetest_v4": (G4,),
    "funcaptcha": (FC,),
    "datadome": (DD,),
    "base64": (IMG,),
    "post": (IMG,),
}
_CAPTCHAAI_METHODS = {
    name: _FORM_METHODS[name]
    for name in ("userrecaptcha", "hcaptcha", "turnstile", "geetest", "base64", "post")
} | {"cloudflare_challenge": (CF,)}

_RECAPTCHA = dict.fromkeys((V2, V2E, V3, V3E), ("gRecaptchaResponse",))
_HCAPTCHA = ("gRecaptchaResponse", "respKey", "userAgent")
_TURNSTILE = ("token", "userAgent")
_GEETEST = {
    G3: ("challenge", "validate", "seccode"),
    G4: ("captcha_id", "lot_number", "pass_token", "gen_time", "captcha_output"),
}
_WORKER_SOLUTION = {
    **_RECAPTCHA,
    HC: _HCAPTCHA,
    TS: _TURNSTILE,
    **_GEETEST,
    FC: ("token",),
    IMG: ("text",),
}


def _prices(
    of: Mapping[str, tuple[ChallengeKind, ...]], usual: int, **named: int
) -> dict[ChallengeKind, int]:
    """Return a price in micro-dollars for every kind among the types."""
    kinds = {kind for kinds in of.values() for kind in kinds}
    return {kind: named.get(kind.value, usual) for kind in kinds}


_ROWS = (
    Vendor(
        name="ucaptcha",
        family=Family.CREATE_TASK,
        hosts=("api.ucaptcha.net",),
        uuid_ids=True,
        types={**_ANTICAPTCHA_TYPES, **_CAPSOLVER_TYPES},
        solution={
            **_WORKER_SOLUTION,
            HC: _RECAPTCHA[V2],
            TS: _RECAPTCHA[V2],
            CF: ("cookies=cookie_map",),
            AWS: ("cookies=cookie_map",),
            DD: ("cookie",),
        },
        prices=_prices({**_ANTICAPTCHA_TYPES, **_CAPSOLVER_TYPES}, 1_000, hcaptcha=1_500),
        codes=codes.WORKER,
        documented=tuple(codes.WORKER_IDS),
    ),
    Vendor(
        name="capsolver",
        family=Family.CREATE_TASK,
        hosts=("api.capsolver.com",),
        envelope=Envelope.CAPSOLVER,
        uuid_ids=True,
        types=_CAPSOLVER_TYPES,
        solution={
            **dict.fromkeys((V2, V2E, V3, V3E), ("gRecaptchaResponse", "userAgent")),
            HC: _HCAPTCHA,
            TS: ("token", "type=turnstile", "userAgent"),
            CF: ("cookies=cookie_pair", "token", "headers"),
            **_GEETEST,
            AWS: ("cookie=cookie_pair",),
            DD: ("cookie",),
            IMG: ("text", "confidence"),
        },
        at_once=frozenset({IMG}),
        prices=_prices(
            _CAPSOLVER_TYPES, 2_000, recaptcha_v2=800, recaptcha_v3=800, hcaptcha=800, turnstile=600
        ),
        codes=codes.CAPSOLVER,
        documented=codes.CAPSOLVER_ALL,
        error_status={
            **dict.fromkeys(codes.CAPSOLVER_ALL, 400),
            "ERROR_KEY_DENIED_ACCESS": 401,
            "ERROR_KEY_TEMP_BLOCKED": 401,
        },
        reports={"/feedbackTask": "feedback"},
        least_interval_s=3.0,
        ban_s=900.0,
        # "Many errors a minute": 30 is assumed.
        rules=Rules(same_error=30),
    ),
    Vendor(
        name="2captcha",
        family=Family.CREATE_TASK,
        hosts=("api.2captcha.com", "api.rucaptcha.com"),
        envelope=Envelope.WORKERS,
        types=_TWOCAPTCHA_TYPES,
        solution={
            **_WORKER_SOLUTION,
            **dict.fromkeys((V2, V2E, V3, V3E), ("gRecaptchaResponse", "token")),
            HC: (*_HCAPTCHA, "token"),
            DD: ("cookie",),
        },
        prices=_prices(_TWOCAPTCHA_TYPES, 2_990, turnstile=1_450, funcaptcha=2_000),
        codes=codes.WORKER,
        documented=tuple(codes.WORKER_IDS),
        error_ids=codes.WORKER_IDS,
        reports={"/reportCorrect": "good", "/reportIncorrect": "bad"},
        window_s=600.0,
    ),
    Vendor(
        name="anticaptcha",
        family=Family.CREATE_TASK,
        hosts=("api.anti-captcha.com",),
        envelope=Envelope.WORKERS,
        types=_ANTICAPTCHA_TYPES,
        solution={**_WORKER_SOLUTION, AWS: ("token",), IMG: ("text", "url")},
        prices=_prices(_ANTICAPTCHA_TYPES, 2_000, image=700),
        codes=codes.WORKER,
        documented=tuple(codes.WORKER_IDS),
        error_ids=codes.WORKER_IDS,
        reports={
            "/reportCorrectRecaptcha": "good",
            "/reportIncorrectRecaptcha": "bad",
            "/reportIncorrectHcaptcha": "bad",
            "/reportIncorrectImageCaptcha": "bad",
        },
        charges_failures=True,
        # No interval is documented; its own client polls every second.
        least_interval_s=1.0,
        window_s=60.0,
        window_from=Window.READY,
        # "Nonsense" repeats of one error: 20 in a row is assumed.
        rules=Rules(same_error=20),
    ),
    Vendor(
        name="capmonster",
        family=Family.CREATE_TASK,
        hosts=("api.capmonster.cloud",),
        envelope=Envelope.CAPMONSTER,
        types=_CAPMONSTER_TYPES,
        solution={
            **_WORKER_SOLUTION,
            CF: ("cf_clearance",),
            AWS: ("cookies=cookie_map",),
            DD: ("cookies=cookie_map",),
        },
        prices=_prices(
            _CAPMONSTER_TYPES, 1_000, recaptcha_v2=600, hcaptcha=1_200, turnstile=1_300, image=300
        ),
        codes=codes.CAPMONSTER,
        documented=codes.CAPMONSTER_ALL,
        reports={
            "/reportIncorrectTokenCaptcha": "bad",
            "/reportIncorrectRecaptcha": "bad",
            "/reportIncorrectHcaptcha": "bad",
            "/reportIncorrectImageCaptcha": "bad",
        },
        least_interval_s=2.0,
        # A wrong key or an empty account, repeated: 10 in a row is assumed.
        rules=Rules(dead_account=10),
    ),
    Vendor(
        name="2captcha-legacy",
        family=Family.IN_PHP,
        hosts=("2captcha.com", "rucaptcha.com"),
        types=_FORM_METHODS,
        prices=_prices(_FORM_METHODS, 2_990, turnstile=1_450, funcaptcha=2_000),
        codes=codes.FORM,
        documented=codes.FORM_ALL,
        reports={"reportgood": "good", "reportbad": "bad"},
        report_window_s=900.0,
        window_s=1_800.0,
        ban_s=10.0,
        rules=Rules(burst=60),
    ),
    Vendor(
        name="captchaai",
        family=Family.IN_PHP,
        hosts=("ocr.captchaai.com",),
        types=_CAPTCHAAI_METHODS,
        prices=_prices(_CAPTCHAAI_METHODS, 0),
        codes=codes.FORM,
        documented=codes.FORM_ALL,
        in_result=frozenset({V2E, V3E, CF}),
        sells_threads=True,
        window_s=600.0,
    ),
)

VENDORS: Mapping[str, Vendor] = MappingProxyType({row.name: row for row in _ROWS})
HOSTS: Mapping[str, Vendor] = MappingProxyType({host: row for row in _ROWS for host in row.hosts})
