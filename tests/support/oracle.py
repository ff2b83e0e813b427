"""The judge of fault tests: what was submitted, what the public views say, what the site served.

It knows nothing of how the services work. A run is good when each submitted id has exactly one outcome, no
other id exists, and every stored body is one that the site served for that page.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import msgspec


class Outcome(msgspec.Struct, frozen=True):
    """A row of the public views: ``view`` is where it stands, ``body`` the digest of a page's body."""

    view: str
    id: str
    body: str | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Counts, and the first few ids of each fault."""

    submitted: int
    pages: int
    dead_letters: int
    lost: tuple[str, ...]
    duplicates: tuple[str, ...]
    invented: tuple[str, ...]
    altered: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether nothing was lost, doubled, invented or altered."""
        return not (self.lost or self.duplicates or self.invented or self.altered)


def judge(
    submitted: Collection[str], outcomes: Iterable[Outcome], served: Mapping[str, Collection[str]]
) -> Verdict:
    """Compare. ``served`` maps an id to the digests of the bodies that the site gave for its page."""
    rows = list(outcomes)
    times = Counter(row.id for row in rows)
    known = set(submitted)
    return Verdict(
        submitted=len(known),
        pages=sum(row.view == "pages" for row in rows),
        dead_letters=sum(row.view == "dead_letters" for row in rows),
        lost=tuple(sorted(known - times.keys())),
        duplicates=tuple(sorted(id_ for id_, count in times.items() if count > 1)),
        invented=tuple(sorted(times.keys() - known)),
        altered=tuple(
            sorted(
                row.id
                for row in rows
                if row.view == "pages" and row.id in served and row.body not in served[row.id]
            )
        ),
    )
