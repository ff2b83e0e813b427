"""The challenge pages, one layout for each kind, modelled on what sites show.

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

ACTION = "view-page"
CDATA = "reference-7f3a"


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The names in a kind's form, and the page it stands on."""

    template: str
    nonce_field: str
    path_field: str
    state_field: str
    token_field: str


LAYOUTS: Mapping[ChallengeKind, Layout] = MappingProxyType(
    {
        ChallengeKind.RECAPTCHA_V2: Layout(
            template="recaptcha_v2.html",
            nonce_field="csrf_token",
            path_field="return_to",
            state_field="state",
            token_field="g-recaptcha-response",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.HCAPTCHA: Layout(
            template="hcaptcha.html",
            nonce_field="authenticity_token",
            path_field="next",
            state_field="ctx",
            token_field="h-captcha-response",  # noqa: S106 -- the name of a field
        ),
        ChallengeKind.TURNSTILE: Layout(
            template="turnstile.html",
            nonce_field="_token",
            path_field="rd",
            state_field="ray",
            token_field="cf-turnstile-response",  # noqa: S106 -- the name of a field
        ),
    }
)


def template(name: str) -> Template:
    """Return a template of this package."""
    return Template(files(__package__).joinpath("templates", name).read_text(encoding="utf-8"))


def sitekeys(random: Random) -> Mapping[ChallengeKind, str]:
    """Return site keys that look like each vendor's own."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
    return MappingProxyType(
        {
            ChallengeKind.RECAPTCHA_V2: "6Le" + "".join(random.choices(alphabet, k=37)),
            ChallengeKind.HCAPTCHA: str(UUID(int=random.getrandbits(128), version=4)),
            ChallengeKind.TURNSTILE: "0x4AAAAAAA" + "".join(random.choices(alphabet, k=14)),
        }
    )


class ChallengePages:
    """Renders the challenge of each kind."""

    def __init__(self, keys: Mapping[ChallengeKind, str]) -> None:
        self._keys = keys
        self._templates = {kind: template(layout.template) for kind, layout in LAYOUTS.items()}

    def render(self, kind: ChallengeKind, path: str, host: str, issued: Issued) -> bytes:
        """Return the page that asks the visitor of ``path`` to prove himself."""
        page = self._templates[kind].substitute(
            sitekey=escape(self._keys[kind]),
            nonce=escape(issued.nonce),
            path=escape(path),
            state=escape(issued.state),
            action=ACTION,
            cdata=CDATA,
            host=escape(host),
            reference=issued.nonce[:16],
        )
        return page.encode()
