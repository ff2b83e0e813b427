"""What a site's robots.txt says, by RFC 9309. Pure; protego reads it.

Most URLs of a site stand under none of its forbidden paths. That is seen by their beginnings, which costs a
thousandth of what matching all rules does; only the others are matched.
"""

import re
from enum import StrEnum

import msgspec
from protego import Protego

# The least that RFC 9309 asks to be read. More lines than these would cost more to match than a page does.
MAX_BYTES = 500 << 10
_MAX_LINES = 10_000
# A line with a star or a dollar is matched against every URL, and takes this much memory once it is read.
_MAX_WILDCARDS = 1_000
_WILDCARD_BYTES, _LINE_BYTES = 2_048, 400
_MAX_BEGINNINGS = 200
# Longer ones are honoured as these ten minutes: a site that wants nobody has Disallow for it.
_LONGEST_DELAY_S = 600.0
_LITERAL = re.compile(r"[A-Za-z0-9/_.~-]*")
_PRODUCT = re.compile(r"[A-Za-z_-]+")


class Answer(StrEnum):
    """What an answer to the request for a robots.txt is."""

    RULES = "rules"
    NONE = "none"
    """There are none: everything may be fetched."""
    UNREACHABLE = "unreachable"
    """Nobody knows: nothing may be fetched until somebody does."""


class RobotsRules(msgspec.Struct, frozen=True):
    """The rules of a site. ``beginnings`` are of all paths that anybody is forbidden.

    ``delay_s`` is for the agent they were read for; ``size`` is about what they take of memory, in bytes.
    """

    beginnings: tuple[str, ...] = ()
    delay_s: float | None = None
    parsed: Protego | None = None
    size: int = 0

    def allows(self, path: str, url: str, user_agent: str) -> bool:
        """Say whether an agent may fetch a URL. ``path`` is its encoded path and query."""
        if self.parsed is None or not (path.startswith(self.beginnings) or "%" in path):
            return True
        return bool(self.parsed.can_fetch(url, product_of(user_agent)))


def product_of(user_agent: str) -> str:
    """Return the product token of a User-Agent, by which rules are for it."""
    match = _PRODUCT.match(user_agent)
    return match[0].lower() if match is not None else "*"


def judged(status: int) -> Answer:
    """Return what a status means: 4xx is no rules, 5xx and 429 are no answer."""
    if 200 <= status < 300:
        return Answer.RULES
    return Answer.UNREACHABLE if status >= 500 or status == 429 else Answer.NONE


def read(body: bytes, user_agent: str) -> RobotsRules:
    """Read a robots.txt; the delay as an agent's product token sees it.

    The longest take a good part of a second.
    """
    text = body[:MAX_BYTES].decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines, wildcards = _bounded(text.splitlines()[:_MAX_LINES])
    try:
        parsed = Protego.parse("\n".join(lines))
        delay_s = parsed.crawl_delay(product_of(user_agent))
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, RecursionError):
        return RobotsRules()  # not even wrong
    delay_s = None if delay_s is None or not delay_s > 0 else min(float(delay_s), _LONGEST_DELAY_S)
    beginnings = _beginnings(lines)
    if not beginnings:
        return RobotsRules(delay_s=delay_s)
    size = 2 * len(text) + _LINE_BYTES * len(lines) + _WILDCARD_BYTES * wildcards
    return RobotsRules(beginnings, delay_s, parsed, size)


def _bounded(lines: list[str]) -> tuple[list[str], int]:
    """Return the lines without the wildcards that are too many, and how many of those are left."""
    kept: list[str] = []
    wildcards = 0
    for line in lines:
        rule = line.partition("#")[0]
        if ("*" in rule or "$" in rule) and rule.lstrip()[:1] not in ("u", "U"):  # of agents * is plain
            if wildcards == _MAX_WILDCARDS:
                continue
            wildcards += 1
        kept.append(line)
    return kept, wildcards


def _beginnings(lines: list[str]) -> tuple[str, ...]:
    """Return how paths begin that a rule for anybody could forbid; rather too many than too few."""
    found: set[str] = set()
    for line in lines:
        rule = line.partition("#")[0].strip()
        if rule[:1] not in ("d", "D"):  # however it is misspelt, as protego forgives
            continue
        words = rule.split(":", 1) if ":" in rule else rule.split(None, 1)
        value = words[1].strip() if len(words) > 1 else ""
        if value:
            # What does not begin with a plain path may be meant for any.
            found.add(_literal(value) if value.startswith("/") else "/")
    if len(found) > _MAX_BEGINNINGS:
        return ("/",)
    return tuple(sorted(found))


def _literal(value: str) -> str:
    match = _LITERAL.match(value)
    return match[0] if match is not None else "/"
