"""Which pages the site has, and which of them are protected, how. Pure; a seed decides.

The first pages are the modules themselves; beyond them come numbered copies with bodies of their own:
``/doc/json.html?v=7`` is the page of ``json`` with a comment at its end.
"""

from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from urllib.parse import quote

import msgspec
from tidegate.records import ChallengeKind

from tidegate_cli.demo_site.challenges import CLEARANCES, INVISIBLE, LAYOUTS

# Documents are behind these; a few pages of their own are behind each of the others.
COMMON = (ChallengeKind.RECAPTCHA_V2, ChallengeKind.HCAPTCHA, ChallengeKind.TURNSTILE)
# Solved only through the proxy of whom they shall clear: among the site's URLs where there is a proxy.
# So are those behind a picture, which only a policy tells from any other, where visitors have one.
BOUND = (ChallengeKind.CLOUDFLARE_CHALLENGE, ChallengeKind.DATADOME)
# What the guarded pages are behind: the kind, and whether its widget is invisible.
_GUARDED = (
    *((kind, False) for kind in (*LAYOUTS, *CLEARANCES) if kind not in COMMON),
    (ChallengeKind.RECAPTCHA_V2, True),
)
_LEAST_OF_EACH_KIND = 3


class Protection(msgspec.Struct, frozen=True, kw_only=True):
    """How a page is protected.

    ``status`` is the challenge's: most sites say 403, some 200. ``redirects`` means that a good token is
    answered by a 303 back to the page and a cookie good for one view of it, instead of by the page itself.
    ``invisible`` there is of reCAPTCHA v2 only.
    """

    kind: ChallengeKind
    status: int
    redirects: bool
    invisible: bool = False

    @property
    def look(self) -> str:
        """The name of its challenge's page and site key: the kind, or INVISIBLE."""
        return INVISIBLE if self.invisible else self.kind


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page: a module's, or a numbered copy of it. ``path`` is path and query."""

    path: str
    module: str
    copy: int = 0
    protection: Protection | None = None

    def body(self, document: bytes) -> bytes:
        """Return the page's body, given its module's."""
        return document + b"<!-- copy %d -->\n" % self.copy if self.copy else document


class Catalog:
    """All document pages, in the order in which they are listed."""

    def __init__(
        self, modules: tuple[str, ...], pages: int, share: float, seed: int, guarded: int = 0
    ) -> None:
        """``guarded`` is how many pages there are behind each challenge that is none of the common ones."""
        protections = _protections(pages, share, seed)
        self._guarded = {page.path: page for page in _guarded(modules, guarded)}
        self._pages = {page.path: page for page in _pages(modules, pages, protections)}
        # Pages link to each other: a module that is not listed is there all the same.
        self._unlisted = {
            path: Page(path=path, module=module)
            for module in modules
            if (path := _path(module, 0)) not in self._pages
        }

    @property
    def pages(self) -> Mapping[str, Page]:
        """The listed documents by path, in order."""
        return MappingProxyType(self._pages)

    @property
    def guarded(self) -> tuple[Page, ...]:
        """The pages behind challenges that are none of the common ones."""
        return tuple(self._guarded.values())

    def find(self, path: str) -> Page | None:
        """Return the page at a path with its query, listed or not."""
        return self._pages.get(path) or self._guarded.get(path) or self._unlisted.get(path)


def _path(module: str, copy: int) -> str:
    path = f"/doc/{quote(module)}.html"
    return f"{path}?v={copy}" if copy else path


def _pages(modules: tuple[str, ...], count: int, protections: dict[int, Protection]) -> list[Page]:
    pages = []
    for index in range(count):
        copy, number = divmod(index, len(modules))
        module = modules[number]
        pages.append(
            Page(path=_path(module, copy), module=module, copy=copy, protection=protections.get(index))
        )
    return pages


def _guarded(modules: tuple[str, ...], count: int) -> list[Page]:
    """Return the guarded pages; by turns a kind says that it blocks and that all is well."""
    pages: list[Page] = []
    for kind, invisible in _GUARDED:
        statuses = tuple(CLEARANCES[kind].headers) if kind in CLEARANCES else (403, 200)
        for number in range(1, count + 1):
            protection = Protection(
                kind=kind,
                status=statuses[(number - 1) % len(statuses)],
                redirects=kind in LAYOUTS and number % 3 == 0,
                invisible=invisible,
            )
            path = f"/guarded/{protection.look}/{number}.html"
            module = modules[len(pages) % len(modules)]
            # Numbered beyond all copies of a module, so that no two pages have one body.
            copy = 1_000_001 + len(pages)
            pages.append(Page(path=path, module=module, copy=copy, protection=protection))
    return pages


def _protections(pages: int, share: float, seed: int) -> dict[int, Protection]:
    kinds = COMMON
    count = round(pages * share)
    if share > 0:
        count = min(pages, max(count, _LEAST_OF_EACH_KIND * len(kinds)))
    chosen = sorted(Random(seed).sample(range(pages), count))  # noqa: S311 -- a choice, not a secret
    protections = {}
    for rank, index in enumerate(chosen):
        turn = rank // len(kinds)
        protections[index] = Protection(
            kind=kinds[rank % len(kinds)],
            status=200 if turn % 4 == 2 else 403,
            redirects=turn % 3 == 1,
        )
    return protections
