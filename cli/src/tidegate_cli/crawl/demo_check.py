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
    invisible: bool | None = None
    sha256: str | None = None

    @property
    def challenge(self) -> str | None:
        """What the page is behind: a kind, or the invisible one of its kind; None for an open page."""
        return f"{self.protected}, invisible" if self.invisible else self.protected


def choose(urls: Sequence[str], protected: Mapping[str, str | None], count: int | None) -> list[str]:
    """Return ``count`` URLs in their order, with a page behind each challenge where they fit."""
    if count is None or count >= len(urls):
        return list(urls)
    first_behind: dict[str, str] = {}
    for url in urls:
        challenge = protected.get(url)
        if challenge is not None:
            first_behind.setdefault(challenge, url)
    wanted = set(list(first_behind.values())[:count])
    for url in urls:
        if len(wanted) >= count:
            break
        wanted.add(url)
    return [url for url in urls if url in wanted]


async def check_bodies(
    db: Warehouse, run: str, served: Mapping[str, Served], challenges: Sequence[str]
) -> DemoChecks:
    """Check the bodies of all pages of a run, and that a page behind each of ``challenges`` was solved."""
    database = quoted(db.database)
    checked = 0
    differing: list[str] = []
    solved: set[str] = set()
    query = (
        f"SELECT url, status, challenges, lower(hex(SHA256(body))) FROM {database}.pages_with_bodies"
        " WHERE run = {run:String} SETTINGS max_block_size = 256"
    )
    async for block in db.blocks(query, {"run": run}):
        for url, status, met, sha256 in block:
            page = served.get(url)
            checked += 1
            if page is None or page.status != status or page.sha256 != sha256:
                differing.append(url)
            elif page.challenge is not None and met:
                solved.add(page.challenge)
    problems = []
    if differing:
        problems.append(
            f"{len(differing)} stored bodies differ from what the site served: "
            f"{', '.join(differing[:_SHOWN])}."
        )
    if not checked:
        problems.append("No body was stored.")
    problems += [f"No page behind {name} was solved." for name in challenges if name not in solved]
    return DemoChecks(bodies_checked=checked, bodies_differing=len(differing), problems=tuple(problems))
