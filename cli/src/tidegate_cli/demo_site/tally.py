"""What happened at the site, counted: an oracle for tests and for the demo's report."""

from collections import Counter
from typing import Any

_MOST_ROWS = 200_000
_OTHER = "(other)"


class Tally:
    """Requests by path and user agent, how many were open at once, what became of tokens."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()
        self._open = 0
        self._most_open = 0
        self._challenges: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def opened(self, path: str, user_agent: str) -> None:
        """Count a request that begins. Beyond the bound, paths are counted together."""
        key = (path, user_agent)
        if key not in self._requests and len(self._requests) >= _MOST_ROWS:
            key = (_OTHER, _OTHER)
        self._requests[key] += 1
        self._open += 1
        self._most_open = max(self._most_open, self._open)

    def closed(self) -> None:
        """Count the end of a request."""
        self._open -= 1

    def challenged(self, kind: str) -> None:
        """Count a challenge that was shown."""
        self._challenges[kind] += 1

    def accepted(self, kind: str) -> None:
        """Count a good token."""
        self._accepted[kind] += 1

    def refused(self, reason: str) -> None:
        """Count an answer that was refused: an error code of the verification, or ``bad-form``."""
        self._refused[reason] += 1

    def report(self) -> dict[str, Any]:
        """Return everything as one JSON-ready object."""
        paths: dict[str, dict[str, Any]] = {}
        agents: Counter[str] = Counter()
        for (path, agent), count in self._requests.items():
            row = paths.setdefault(path, {"count": 0, "by": {}})
            row["count"] += count
            row["by"][agent] = count
            agents[agent] += count
        return {
            "requests": self._requests.total(),
            "open": self._open,
            "max_concurrent": self._most_open,
            "user_agents": dict(agents),
            "challenges": dict(self._challenges),
            "tokens": {
                "accepted": self._accepted.total(),
                "accepted_by_kind": dict(self._accepted),
                "refused": self._refused.total(),
                "refused_by_reason": dict(self._refused),
            },
            "paths": paths,
        }
