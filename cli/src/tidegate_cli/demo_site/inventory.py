"""What the site says of itself: the list of its URLs, and what was served under each path."""

import hashlib
from collections.abc import Container, Mapping
from typing import Any

from tidegate.records import body_hash

from tidegate_cli.demo_site.catalog import Catalog, Page
from tidegate_cli.demo_site.documents import Bodies
from tidegate_cli.demo_site.extras import Extra


class Inventory:
    """Remembers which paths were served; a page's hashes are known from then on."""

    def __init__(
        self, catalog: Catalog, extras: Mapping[str, Extra], documents: Bodies, *, unlisted: Container[str]
    ) -> None:
        """``unlisted`` are kinds of challenges that visitors are not equipped to pass."""
        self._catalog = catalog
        self._extras = extras
        self._documents = documents
        self._unlisted = unlisted
        self._served: set[str] = set()
        self._hashes: dict[str, dict[str, Any]] = {}

    def served(self, path: str) -> None:
        """Take note that the page itself, not a challenge or a failure, was served."""
        self._served.add(path)

    def urls(self, base: str) -> str:
        """Return the absolute URLs of all listed pages, one a line: extras, guarded pages, documents."""
        extras = [extra.path for extra in self._extras.values() if extra.listed]
        guarded = [page.path for page in self._catalog.guarded if self._listed(page)]
        return "".join(f"{base}{path}\n" for path in [*extras, *guarded, *self._catalog.pages])

    def manifest(self) -> dict[str, Any]:
        """Return every page with what is true of it; hashes are None until it was served.

        ``sha256`` and ``body_hash`` (BLAKE2b-128) are those of the body without content encoding; those of
        a redirect are its target's. ``status`` is the one that a page ends with.
        """
        pages = [self._extra(extra) for extra in self._extras.values()]
        pages += [self._page(page) for page in (*self._catalog.guarded, *self._catalog.pages.values())]
        return {"pages": pages}

    def _page(self, page: Page) -> dict[str, Any]:
        protection = page.protection
        row: dict[str, Any] = {
            "path": page.path,
            "listed": self._listed(page),
            "status": 200,
            "location": None,
            "protected": protection.kind if protection else None,
            "invisible": protection.invisible if protection else None,
            "challenge_status": protection.status if protection else None,
            "redirects": protection.redirects if protection else None,
        }
        document = self._documents.ready(page.module) if page.path in self._served else None
        return row | self._hashed(page.path, page.body(document) if document is not None else None)

    def _extra(self, extra: Extra) -> dict[str, Any]:
        row: dict[str, Any] = {
            "path": extra.path,
            "listed": extra.listed,
            "status": 200 if extra.location else extra.status,
            "location": extra.location,
            "protected": None,
            "invisible": None,
            "challenge_status": None,
            "redirects": None,
        }
        return row | self._hashed(extra.path, extra.body if extra.path in self._served else None)

    def _hashed(self, path: str, body: bytes | None) -> dict[str, Any]:
        if body is None:
            return {"bytes": None, "sha256": None, "body_hash": None}
        hashes = self._hashes.get(path)
        if hashes is None:
            hashes = self._hashes[path] = {
                "bytes": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
                "body_hash": body_hash(body),
            }
        return hashes

    def _listed(self, page: Page) -> bool:
        return page.protection is None or page.protection.kind not in self._unlisted
