"""What a chaos campaign submits, and what may become of it. Pure: a seed and the site's manifest decide."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

import msgspec
from tidegate.outcome import Reason
from tidegate.topics import Topic

# How a job may end whose page is there but whose network, site or solving service were broken for a while.
_TROUBLE = frozenset(
    {Reason.RETRIES_EXHAUSTED, Reason.UNSOLVABLE, Reason.DEFERRED_TOO_LONG, Reason.BUDGET_EXHAUSTED}
)


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """How a job may end: as a page of ``path`` with ``status``, and as a dead letter for these reasons."""

    path: str | None
    status: int | None = None
    reasons: frozenset[str] = frozenset()


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One intake record. ``id`` None is a record that is no job; ``keyed`` False leaves out its key."""

    id: str | None
    topic: Topic
    url: str
    value: bytes
    keyed: bool
    expected: Expected | None = None


class Mix(msgspec.Struct, frozen=True):
    """Shares of what is submitted; the rest are plain pages."""

    protected: float = 0.15
    gone: float = 0.04
    flaky: float = 0.06
    broken: float = 0.02
    bad: float = 0.03
    private: float = 0.03
    again: float = 0.04
    no_job: float = 0.01
    unkeyed: float = 0.15


_BAD = (
    ("not a url at all", {Reason.NOT_A_URL, Reason.SCHEME_NOT_ALLOWED}),
    ("file:///etc/passwd", {Reason.SCHEME_NOT_ALLOWED, Reason.NOT_A_URL}),
    ("javascript:alert(1)", {Reason.SCHEME_NOT_ALLOWED, Reason.NOT_A_URL}),
    ("http://", {Reason.NOT_A_URL}),
)
# Link-local addresses stay refused where private ones are admitted.
_PRIVATE = ("http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/")
_NO_JOB = (b"{", b'{"url": 7}', b"\xff\xfe\x00", b"", b"[1, 2", b'{"run":"chaos"')
_LANES = (Topic.URLS, Topic.URLS, Topic.URLS, Topic.URLS_HIGH, Topic.URLS_LOW)


class JobStream:
    """An endless stream of submissions to run ``run`` for pages of several addresses of one site."""

    def __init__(
        self,
        seed: int,
        run: str,
        manifest: Mapping[str, Any],
        bases: Sequence[str],
        mix: Mix | None = None,
    ) -> None:
        self._chance = Random(f"{seed}:jobs")
        self._run = run
        self._bases = bases
        self._mix = mix or Mix()
        pages = manifest["pages"]
        self._plain = [page for page in pages if page["listed"] and not page["protected"]]
        # What is not listed takes a proxy or a policy that this fetcher has not.
        self._protected = [page for page in pages if page["listed"] and page["protected"]]
        self._gone = [page for page in pages if page["status"] in (404, 410)]
        self._flaky = [page for page in pages if "flaky" in page["path"] or "busy" in page["path"]]
        self._broken = [page for page in pages if page["status"] in (403, 500)]
        self._made: list[Submission] = []

    def __iter__(self) -> Iterator[Submission]:
        while True:
            yield self._next()

    def _next(self) -> Submission:
        mix, chance = self._mix, self._chance
        draw = chance.random()
        makers: tuple[tuple[float, Callable[[], Submission]], ...] = (
            (mix.protected, partial(self._page, self._protected)),
            (mix.gone, partial(self._page, self._gone)),
            (mix.flaky, partial(self._page, self._flaky)),
            (mix.broken, partial(self._page, self._broken)),
            (mix.bad, self._bad),
            (mix.private, self._private),
            (mix.again, self._again),
            (mix.no_job, self._no_job),
        )
        for share, make in makers:
            draw -= share
            if draw < 0:
                return make()
        return self._page(self._plain)

    def _page(self, pages: Sequence[Mapping[str, Any]]) -> Submission:
        page = self._chance.choice(pages)
        status, path = page["status"], page["path"]
        broken = status == 403 or status >= 500
        expected = Expected(
            path=None if broken else path, status=None if broken else status, reasons=_TROUBLE
        )
        return self._job(self._chance.choice(self._bases) + path, expected)

    def _bad(self) -> Submission:
        url, reasons = self._chance.choice(_BAD)
        return self._job(url, Expected(path=None, reasons=frozenset(reasons)))

    def _private(self) -> Submission:
        url = self._chance.choice(_PRIVATE)
        return self._job(url, Expected(path=None, reasons=frozenset({Reason.ADDRESS_REFUSED})))

    def _again(self) -> Submission:
        """Submit a job a second time: two records of one (run, id) are one job."""
        return self._chance.choice(self._made) if self._made else self._page(self._plain)

    def _no_job(self) -> Submission:
        value = self._chance.choice(_NO_JOB)
        return Submission(id=None, topic=self._chance.choice(_LANES), url="", value=value, keyed=False)

    def _job(self, url: str, expected: Expected) -> Submission:
        id_ = f"{len(self._made):06d}"
        submission = Submission(
            id=id_,
            topic=self._chance.choice(_LANES),
            url=url,
            value=json.dumps({"url": url, "id": id_, "run": self._run}).encode(),
            keyed=self._chance.random() >= self._mix.unkeyed,
            expected=expected,
        )
        self._made.append(submission)
        return submission
