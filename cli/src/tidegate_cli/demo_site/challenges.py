"""The challenge pages, one template for each kind, modelled on what sites show.

Each form differs where real forms differ: an absolute action, a relative one, none at all; names of the
hidden fields; values with characters that HTML escapes; other forms and unchecked boxes beside it.
"""

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from random import Random
from string import Template
from types import MappingProxyType
from uuid import UUID

import msgspec
from tidegate.records import ChallengeKind

from tidegate_cli.demo_site.gate import Issued

# Invisible reCAPTCHA v2 is no kind of its own: the same fields, on another page, for another site key.
INVISIBLE = f"{ChallengeKind.RECAPTCHA_V2}_invisible"
ACTION = "view-page"
CDATA = "reference-7f3a"


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The names in a kind's form. ``token_field`` is where the answer stands that the vendor verifies."""

    nonce_field: str
    path_field: str
    state_field: str
    token_field: str


class Clearance(msgspec.Struct, frozen=True, kw_only=True):
    """How a kind asks whom it clears by a cookie: the cookie, and by status the headers of its page."""

    cookie: str
    headers: Mapping[int, Mapping[str, str]]


LAYOUTS: Mapping[ChallengeKind, Layout] = MappingProxyType(
    {
        ChallengeKind.RECAPTCHA_V2: Layout(
            nonce_field="csrf_token",
            path_field="return_to",
            state_field="state",
            token_field="g-recaptcha-response",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.HCAPTCHA: Layout(
            nonce_field="authenticity_token",
            path_field="next",
            state_field="ctx",
            token_field="h-captcha-response",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.TURNSTILE: Layout(
            nonce_field="_token",
            path_field="rd",
            state_field="ray",
            token_field="cf-turnstile-response",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.RECAPTCHA_V2_ENTERPRISE: Layout(
            nonce_field="xsrf",
            path_field="target",
            state_field="ticket",
            token_field="g-recaptcha-response",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.RECAPTCHA_V3: Layout(
            nonce_field="nonce",
            path_field="to",
            state_field="keep",
            token_field="recaptcha_token",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.RECAPTCHA_V3_ENTERPRISE: Layout(
            nonce_field="once",
            path_field="goal",
            state_field="held",
            token_field="g-recaptcha-response",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.GEETEST_V3: Layout(
            nonce_field="n",
            path_field="back",
            state_field="s",
            token_field="geetest_validate",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.GEETEST_V4: Layout(
            nonce_field="k",
            path_field="url",
            state_field="sign",
            token_field="pass_token",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.FUNCAPTCHA: Layout(
            nonce_field="ct",
            path_field="dest",
            state_field="st",
            token_field="fc-token",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.IMAGE: Layout(
            nonce_field="id",
            path_field="page",
            state_field="v",
            token_field="code",  # noqa: S106 -- the name of a field
        ),
    }
)

CLEARANCES: Mapping[ChallengeKind, Clearance] = MappingProxyType(
    {
        ChallengeKind.AWS_WAF: Clearance(
            cookie="aws-waf-token",
            headers={405: {"x-amzn-waf-action": "captcha"}, 202: {"x-amzn-waf-action": "challenge"}},
        ),
        ChallengeKind.CLOUDFLARE_CHALLENGE: Clearance(
            cookie="cf_clearance", headers={403: {"cf-mitigated": "challenge"}}
        ),
        ChallengeKind.DATADOME: Clearance(cookie="datadome", headers={403: {"x-datadome": "protected"}}),
    }
)


def challenge_of(nonce: str) -> str:
    """Return the GeeTest challenge that stands on the page of a nonce: good for one answer, as it is."""
    return f"{nonce[::-1]}2a"


def token_of(kind: ChallengeKind, fields: Mapping[str, str]) -> str:
    """Return the part of an answer that the vendor verifies; empty where the parts do not belong together."""
    layout = LAYOUTS[kind]
    token = fields.get(layout.token_field, "")
    if kind is ChallengeKind.GEETEST_V3:
        challenge = challenge_of(fields.get(layout.nonce_field, ""))
        parts = (fields.get("geetest_challenge"), fields.get("geetest_seccode"))
        return token if parts == (challenge, f"{token}|jordan") else ""
    if kind is ChallengeKind.GEETEST_V4:
        whole = all(fields.get(name) for name in ("captcha_id", "lot_number", "gen_time", "captcha_output"))
        return token if whole else ""
    return token


def template(name: str) -> Template:
    """Return a template of this package."""
    return Template(files(__package__).joinpath("templates", name).read_text(encoding="utf-8"))


def sitekeys(random: Random) -> Mapping[str, str]:
    """Return site keys that look like each vendor's own, by kind, and the one of INVISIBLE."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
    return MappingProxyType(
        {
            ChallengeKind.RECAPTCHA_V2: "6Le" + "".join(random.choices(alphabet, k=37)),
            ChallengeKind.HCAPTCHA: str(UUID(int=random.getrandbits(128), version=4)),
            ChallengeKind.TURNSTILE: "0x4AAAAAAA" + "".join(random.choices(alphabet, k=14)),
            **{
                kind: "6Ld" + "".join(random.choices(alphabet, k=37))
                for kind in (
                    ChallengeKind.RECAPTCHA_V2_ENTERPRISE,
                    ChallengeKind.RECAPTCHA_V3,
                    ChallengeKind.RECAPTCHA_V3_ENTERPRISE,
                )
            },
            ChallengeKind.GEETEST_V3: f"{random.getrandbits(128):032x}",
            ChallengeKind.GEETEST_V4: f"{random.getrandbits(128):032x}",
            ChallengeKind.FUNCAPTCHA: str(UUID(int=random.getrandbits(128), version=4)).upper(),
            ChallengeKind.AWS_WAF: "AQIDAH" + "".join(random.choices(alphabet, k=58)),
            # Their pages name no key; the vendor knows the site by its host.
            ChallengeKind.CLOUDFLARE_CHALLENGE: "",
            ChallengeKind.DATADOME: "",
            ChallengeKind.IMAGE: "",
            INVISIBLE: "6Lf" + "".join(random.choices(alphabet, k=37)),
        }
    )


class ChallengePages:
    """Renders the challenge of each kind, and the invisible one."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        self._templates = {look: template(f"{look}.html") for look in (*LAYOUTS, *CLEARANCES, INVISIBLE)}

    def render(self, look: str, path: str, host: str, issued: Issued) -> bytes:
        """Return the page that asks the visitor of ``path`` to prove himself; ``look`` as of a Protection."""
        page = self._templates[look].substitute(
            sitekey=escape(self._keys[look]),
            nonce=escape(issued.nonce),
            path=escape(path),
            state=escape(issued.state),
            action=ACTION,
            cdata=CDATA,
            host=escape(host),
            reference=issued.nonce[:16],
            challenge=challenge_of(issued.nonce),
            iv=issued.nonce[16:24],
            context=issued.nonce[8:],
        )
        return page.encode()
