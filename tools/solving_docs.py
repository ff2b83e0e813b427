#!/usr/bin/env python
"""Writes the providers' tables into docs/solving.md from the profiles, so that they cannot say anything else.

A test holds the written page against the profiles; after a change of a profile or a price run
``python tools/solving_docs.py``.
"""

import sys
from pathlib import Path

from tidegate.records import ChallengeKind
from tidegate_solver.catalog import load_profiles
from tidegate_solver.profiles import Family, Profile, Window

PAGE = Path(__file__).resolve().parents[1] / "docs" / "solving.md"
BEGIN = "<!-- providers: written by tools/solving_docs.py; a change by hand is lost -->"
END = "<!-- /providers -->"


def render() -> str:
    """Return the tables."""
    profiles = load_profiles()
    names = list(profiles)
    return "\n".join(
        [
            BEGIN,
            "",
            "| Provider | Family | Address | Known by | Poll cap | Result kept | Failed task | Reports |",
            "|---|---|---|---|---|---|---|---|",
            *(_provider(profile) for profile in profiles.values()),
            "",
            *(f"- `{profile.name}`: {profile.note}." for profile in profiles.values()),
            "",
            "What is offered, the price (US dollars for 1,000); first poll, interval and end of patience.",
            "P: only through the fetcher's proxy. Empty: not offered.",
            "",
            f"| Kind | {' | '.join(f'`{name}`' for name in names)} |",
            f"|---|{'---|' * len(names)}",
            *(_kind(kind, profiles) for kind in ChallengeKind),
            "",
            "Prices:",
            "",
            *(f"- `{profile.name}`: {profile.prices_as_of}." for profile in profiles.values()),
            "",
            END,
        ]
    )


def written() -> str:
    """Return the page with the tables as they are now."""
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    return head + render() + rest.split(END, 1)[1]


def _provider(profile: Profile) -> str:
    family = "createTask" if profile.family is Family.CREATE_TASK else "in.php"
    known = "its documentation" if profile.verified else "**unverified**"
    kept = "not known"
    if profile.result_window_s:
        since = "creation" if profile.result_window_from is Window.CREATED else "completion"
        kept = f"{profile.result_window_s:g} s from {since}"
    if profile.charges_failures:
        paid = "charged"
    elif "*" in profile.uncharged_failures:
        paid = "free"
    elif profile.uncharged_failures:
        paid = "unsolvable is free, the rest counts as charged"
    else:
        paid = "not known: counts as charged"
    words = [word for word, calls in (("good", profile.reports.good), ("bad", profile.reports.bad)) if calls]
    reports = f"{', '.join(words)} within {profile.reports.window_s:g} s" if words else "none"
    cells = (f"`{profile.name}`", family, profile.base_url, known, profile.poll_cap, kept, paid, reports)
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _kind(kind: ChallengeKind, profiles: dict[str, Profile]) -> str:
    cells = []
    for profile in profiles.values():
        row = profile.offer(kind)
        if row is None:
            cells.append("")
            continue
        rhythm = profile.rhythm(row)
        times = f"{rhythm.first_delay_s:g}/{rhythm.interval_s:g}/{rhythm.time_limit_s:g} s"
        cells.append(f"{row.price * 1000:g}; {times}{' P' if row.needs_proxy else ''}")
    return f"| `{kind.value}` | {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
