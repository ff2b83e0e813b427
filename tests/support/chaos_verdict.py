"""Judges a campaign: the oracle of lost, doubled, invented and altered, and what else must hold. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from support.chaos_evidence import Evidence, SolveRow
from support.chaos_jobs import Submission
from support.oracle import Outcome, Verdict, judge

_SHOWN = 20


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The oracle's verdict, and sentences that say what else is wrong.

    ``money`` is about solves paid twice or not booked, ``unexpected`` about outcomes that the job cannot
    have had, ``figures`` what a reader wants to know beside.
    """

    verdict: Verdict
    unexpected: tuple[str, ...]
    money: tuple[str, ...]
    figures: dict[str, Any]

    @property
    def good(self) -> bool:
        """Whether nothing at all is wrong."""
        return self.verdict.good and not self.unexpected and not self.money


def judged(submissions: Iterable[Submission], evidence: Evidence, manifest: Mapping[str, Any]) -> Judgement:
    """Judge what was submitted by what is there."""
    jobs = {each.id: each for each in submissions if each.id is not None}
    served = _served(jobs, manifest)
    outcomes = [Outcome("pages", row.id, row.body) for row in evidence.pages]
    outcomes += [Outcome("dead_letters", row.id) for row in evidence.dead]
    return Judgement(
        verdict=judge(jobs.keys(), outcomes, served),
        unexpected=(*_unexpected(jobs, evidence), *_strays(evidence)),
        money=tuple(_money(jobs, evidence)),
        figures=_figures(evidence),
    )


def _served(jobs: Mapping[str, Submission], manifest: Mapping[str, Any]) -> dict[str, set[str]]:
    """Map each job to the digests that its page may have: none, where the site never served it."""
    digests = {page["path"]: page["sha256"] for page in manifest["pages"]}
    for page in manifest["pages"]:
        # A redirect is never served itself; what it leads to is.
        if page["location"]:
            digests[page["path"]] = digests[page["location"]]
    served: dict[str, set[str]] = {}
    for id_, job in jobs.items():
        assert job.expected is not None
        digest = None if job.expected.path is None else digests[job.expected.path]
        served[id_] = set() if digest is None else {digest}
    return served


def _unexpected(jobs: Mapping[str, Submission], evidence: Evidence) -> Iterable[str]:
    for page in evidence.pages:
        job = jobs.get(page.id)
        if job is None or job.expected is None:
            continue
        if job.expected.path is None:
            yield f"{page.id} {job.url} is a page with status {page.status}"
        elif page.status != job.expected.status or page.url != job.url:
            yield f"{page.id} {job.url} is a page of {page.url} with status {page.status}"
    for dead in evidence.dead:
        job = jobs.get(dead.id)
        if job is not None and job.expected is not None and dead.reason not in job.expected.reasons:
            yield f"{dead.id} {job.url} is dead for {dead.reason}: {dead.message}"


def _strays(evidence: Evidence) -> Iterable[str]:
    if len(evidence.strays) != evidence.strays_submitted:
        yield f"{evidence.strays_submitted} records are no jobs, {len(evidence.strays)} have a dead letter"
    if evidence.stray_pages:
        yield f"{evidence.stray_pages} pages of records that are no jobs"


def _money(jobs: Mapping[str, Submission], evidence: Evidence) -> Iterable[str]:
    """Charges per request at most one; what no record names is covered by what is in doubt (M3, M9).

    The solving service knows pages and no requests, so the comparison is made page by page.
    """
    for request_id, tasks in evidence.tasks.items():
        if len(tasks) > 1:
            yield f"request {request_id} was bought {len(tasks)} times: {sorted(tasks)}"
    named = set().union(*evidence.tasks.values()) if evidence.tasks else set()
    charged = Counter(charge.url for charge in evidence.charges)
    unnamed = Counter(charge.url for charge in evidence.charges if charge.task_id not in named)
    paid = Counter(_url(jobs, row) for row in evidence.solves if row.cost > 0)
    doubted = Counter(_url(jobs, row) for row in evidence.solves if row.error_code == "in_doubt")
    for url, count in unnamed.items():
        if count > doubted[url]:
            yield f"{url}: {count} charges that no record names, {doubted[url]} solves in doubt"
    for url, count in charged.items():
        if count > paid[url]:
            yield f"{url}: {count} charges, {paid[url]} requests booked as paid"
    if len({charge.task_id for charge in evidence.charges}) != len(evidence.charges):
        yield "a task was charged twice"


def _url(jobs: Mapping[str, Submission], row: SolveRow) -> str:
    job = jobs.get(row.job_id)
    return f"unknown job {row.job_id}" if job is None else job.url


def _figures(evidence: Evidence) -> dict[str, Any]:
    views = {"pages_log": len(evidence.pages), "dead_letters_log": len(evidence.dead) + evidence.overruled}
    return {
        "strays": len(evidence.strays),
        "superseded": {table: evidence.log_rows[table] - count for table, count in views.items()},
        "overruled": evidence.overruled,
        "charges": len(evidence.charges),
        "requests": len(evidence.solves),
        "paid": sum(row.cost > 0 for row in evidence.solves),
        "in_doubt": sum(row.error_code == "in_doubt" for row in evidence.solves),
        "reasons": dict(Counter(row.reason for row in evidence.dead)),
        "solves": dict(Counter(row.status for row in evidence.solves)),
    }
