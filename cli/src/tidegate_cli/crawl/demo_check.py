"""Compares what is stored with what the demo site says it served, byte for byte by hash."""

# ruff: noqa: S608 -- only names of our own tables are put into the text; values are parameters

from collections.abc import Mapping, Sequence

import msgspec
from tidegate.records import ChallengeKind

from tidegate_cli.crawl.report import DemoChecks
from tidegate_cli.warehouse import Warehouse, quoted

_SHOWN = 3


class Served(msgspec.Struct, frozen=True):
    """What the site's manifest says of a page; ``sha256`` is None until the page was served."""

    path: str
    status: int = 200
    protected: ChallengeKind | None = None
    sha256: str | None = None


def choose(
    urls: Sequence[str], protected: Mapping[str, ChallengeKind | None], count: int | None
) -> list[str]:
    """Return ``count`` URLs in their order, with a page of each kind of challenge where they fit."""
    if count is None or count >= len(urls):
        return list(urls)
    first_of_kind: dict[ChallengeKind, str] = {}
    for url in urls:
        kind = protected.get(url)
        if kind is not None:
            first_of_kind.setdefault(kind, url)
    wanted = set(list(first_of_kind.values())[:count])
    for url in urls:
        if len(wanted) >= count:
            break
        wanted.add(url)
    return [url for url in urls if url in wanted]


async def check_bodies(
    db: Warehouse, run: str, served: Mapping[str, Served], kinds: Sequence[ChallengeKind]
) -> DemoChecks:
    """Check the bodies of all pages of a run, and that a page of each of ``kinds`` was solved."""
    database = quoted(db.database)
    checked = 0
    differing: list[str] = []
    solved: set[ChallengeKind] = set()
    query = (
        f"SELECT url, status, challenges, lower(hex(SHA256(body))) FROM {database}.pages_with_bodies"
        " WHERE run = {run:String} SETTINGS max_block_size = 256"
    )
    async for block in db.blocks(query, {"run": run}):
        for url, status, challenges, sha256 in block:
            page = served.get(url)
            checked += 1
            if page is None or page.status != status or page.sha256 != sha256:
                differing.append(url)
            elif page.protected is not None and challenges:
                solved.add(page.protected)
    problems = []
    if differing:
        problems.append(
            f"{len(differing)} stored bodies differ from what the site served: "
            f"{', '.join(differing[:_SHOWN])}."
        )
    if not checked:
        problems.append("No body was stored.")
    problems += [f"No page behind {kind} was solved." for kind in kinds if kind not in solved]
    return DemoChecks(bodies_checked=checked, bodies_differing=len(differing), problems=tuple(problems))
