"""Pages beside the documents: what a crawler meets in the wild and must not stumble over.

Some carry a widget and are no challenge; others are missing, empty, flaky, compressed, moved, or in an
old character set. Those that end well, by themselves or after a retry, are listed among the site's URLs.
"""

import gzip
from collections.abc import Mapping
from html import escape
from types import MappingProxyType

import msgspec
from tidegate.records import ChallengeKind

from tidegate_cli.demo_site.challenges import template

HTML = "text/html; charset=utf-8"
_MOST_FAILURES = 5


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """One extra page.

    ``sent`` are the bytes on the wire, ``body`` what they mean once a content encoding is undone. The first
    ``failures`` requests are answered with ``failure_status``. A redirect ends on the page at ``location``.
    """

    path: str
    body: bytes
    sent: bytes
    status: int = 200
    headers: Mapping[str, str]
    listed: bool = True
    failures: int = 0
    failure_status: int = 500
    failure_headers: Mapping[str, str] = {}
    location: str | None = None


_LATIN_1 = """<!DOCTYPE html>
<html lang="fr">
<head>
<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1">
<title>Où naît un élève zélé</title>
</head>
<body>
<h1>Où naît un élève zélé</h1>
<p>Dès Noël où un zéphyr haï me vêt de glaçons würmiens, je dîne d'exquis rôtis de bœuf à l'aÿ d'âge mûr.</p>
</body>
</html>
"""

_SHIFT_JIS = """<!DOCTYPE html>
<html lang="ja">
<head>
<meta charset="Shift_JIS">
<title>文字コードのページ</title>
</head>
<body>
<h1>文字コードのページ</h1>
<p>このページはシフトJISで書かれています。能力と表示を確かめてください。</p>
</body>
</html>
"""


def _simple(title: str, sentence: str) -> bytes:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{escape(title)}</title></head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n<p>{escape(sentence)}</p>\n</body>\n</html>\n"
    ).encode()


def _page(
    path: str,
    body: bytes,
    *,
    status: int = 200,
    content_type: str = HTML,
    listed: bool = True,
) -> Extra:
    return Extra(
        path=path, body=body, sent=body, status=status, headers={"Content-Type": content_type}, listed=listed
    )


def _flaky(failures: int) -> Extra:
    body = _simple(f"Here after {failures} failures", "The server was not well a moment ago. It is now.")
    return Extra(
        path=f"/extra/flaky/{failures}",
        body=body,
        sent=body,
        headers={"Content-Type": HTML},
        failures=failures,
        listed=failures == 1,
    )


def _busy() -> Extra:
    body = _simple("Here after a wait", "There were too many requests a moment ago.")
    return Extra(
        path="/extra/busy.html",
        body=body,
        sent=body,
        headers={"Content-Type": HTML},
        failures=1,
        failure_status=429,
        failure_headers={"Retry-After": "1"},
        listed=False,
    )


def _moved(arrived: bytes) -> Extra:
    return Extra(
        path="/extra/moved.html",
        body=arrived,
        sent=b"",
        status=302,
        headers={"Content-Type": HTML, "Location": "/extra/arrived.html"},
        location="/extra/arrived.html",
    )


def _gzip() -> Extra:
    body = _simple("Compressed", "These bytes came compressed. " + "They repeat themselves. " * 200)
    return Extra(
        path="/extra/gzip.html",
        body=body,
        sent=gzip.compress(body, mtime=0),
        headers={"Content-Type": HTML, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"},
    )


def links(modules: tuple[str, ...]) -> str:
    """Return list items that lead to the page of each module."""
    return "\n".join(f'<li><a href="/doc/{escape(name)}.html">{escape(name)}</a></li>' for name in modules)


def frame(title: str, main: str, modules: tuple[str, ...], head: str = "") -> bytes:
    """Return a full page of the site: its header, its navigation, and ``main``."""
    page = template("frame.html").substitute(title=escape(title), head=head, main=main, links=links(modules))
    return page.encode()


def build(modules: tuple[str, ...], keys: Mapping[str, str]) -> Mapping[str, Extra]:
    """Return all extra pages by path."""
    names = {
        "recaptcha": keys[ChallengeKind.RECAPTCHA_V2],
        "hcaptcha": keys[ChallengeKind.HCAPTCHA],
        "turnstile": keys[ChallengeKind.TURNSTILE],
    }
    scripts = {
        "contact": '<script src="https://www.google.com/recaptcha/api.js" async defer></script>',
        "login": '<script src="https://js.hcaptcha.com/1/api.js" async defer></script>',
        "comments": '<script src="https://challenges.cloudflare.com/turnstile/v0/api.js" async></script>',
        "about-captchas": template("about-captchas-head.html").substitute(names),
    }
    titles = {
        "contact": "Contact the editors",
        "login": "Log in",
        "comments": "Reading a traceback from the bottom up",
        "about-captchas": "How sites tell people from programs",
    }
    widgets = [
        _page(
            f"/extra/{name}.html",
            frame(title, template(f"{name}.html").substitute(names), modules, scripts[name]),
        )
        for name, title in titles.items()
    ]
    arrived = _simple("You have arrived", "Another address led here.")
    index = frame("Library reference", "<h1>Library reference</h1>", modules)
    rows = [
        _page("/doc/", index),
        _page("/", index, listed=False),
        *widgets,
        _page("/extra/arrived.html", arrived),
        _moved(arrived),
        _page(
            "/extra/latin-1.html", _LATIN_1.encode("latin-1", "xmlcharrefreplace"), content_type="text/html"
        ),
        _page("/extra/shift-jis.html", _SHIFT_JIS.encode("shift_jis"), content_type="text/html"),
        _gzip(),
        _page("/extra/empty.html", b""),
        _page("/extra/missing.html", _simple("Not found", "There is no such page."), status=404),
        _page("/extra/gone.html", _simple("Gone", "This page was taken down."), status=410),
        *(_flaky(failures) for failures in range(1, _MOST_FAILURES + 1)),
        _busy(),
        _page(
            "/extra/blocked.html",
            _simple("Forbidden", "You have no access to this page."),
            status=403,
            listed=False,
        ),
        _page(
            "/extra/broken.html",
            _simple("Internal error", "The server is not well, and will not be."),
            status=500,
            listed=False,
        ),
    ]
    return MappingProxyType({row.path: row for row in rows})
