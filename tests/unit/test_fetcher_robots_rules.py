"""robots.txt: what a status means, what the rules say, and that looking at beginnings changes nothing."""

import tracemalloc

import pytest
from tidegate_fetcher.robots_rules import MAX_BYTES, Answer, judged, read

AGENT = "Tidegate/0.1 (+mailto:a@b.example)"


def allows(text: str, path: str, agent: str = AGENT) -> bool:
    """Say whether a path may be fetched by rules."""
    return read(text.encode(), agent).allows(path, f"https://a.example{path}", agent)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, Answer.RULES),
        (404, Answer.NONE),
        (401, Answer.NONE),
        (403, Answer.NONE),
        (302, Answer.NONE),
        (429, Answer.UNREACHABLE),
        (500, Answer.UNREACHABLE),
        (503, Answer.UNREACHABLE),
    ],
)
def test_a_status_means_rules_none_or_that_nobody_knows(status: int, answer: Answer) -> None:
    """RFC 9309, 2.3.1; a site that asks for patience has not answered."""
    assert judged(status) is answer


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/x", True),
        ("User-agent: *\nDisallow:", "/x", True),
        ("User-agent: *\nDisallow: /", "/x", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/c", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf?z", True),
        ("User-agent: *\nDisallow: *q=", "/x?q=1", False),
        ("User-agent: *\nDisallow: /a%62c", "/abc", False),
        ("User-agent: *\nDisallow: /abc", "/%61bc", False),
        ("User-agent: tidegate\nDisallow: /\n\nUser-agent: *\nDisallow:", "/x", False),
        ("User-agent: other\nDisallow: /", "/x", True),
        ("\ufeffUser-agent: *\nDisallow /x # a remark", "/x", False),
        ("<html><p>User-agent: *</p> Disallow: /", "/x", True),
    ],
)
def test_rules_are_those_of_the_standard(text: str, path: str, allowed: bool) -> None:
    """Longest match, wildcards, encodings, the agent's own group; a page of HTML says nothing."""
    assert allows(text, path) is allowed


def test_a_delay_is_that_of_the_agent_and_bounded() -> None:
    """Nonsense is none."""
    for text, expected in (
        ("2", 2.0),
        ("0.5", 0.5),
        ("86400", 600.0),
        ("0", None),
        ("-1", None),
        ("x", None),
    ):
        assert read(f"User-agent: *\nCrawl-delay: {text}".encode(), AGENT).delay_s == expected
    both = b"User-agent: tidegate\nCrawl-delay: 7\n\nUser-agent: *\nCrawl-delay: 1\nDisallow: /x"
    assert read(both, AGENT).delay_s == 7.0
    assert read(both, "Other/1").delay_s == 1.0


def test_what_is_too_long_is_cut() -> None:
    """And what is no text does no harm."""
    assert allows("#" * MAX_BYTES + "\nUser-agent: *\nDisallow: /", "/x")
    for body in (
        b"\xff\xfe\x00",
        b"\x00" * 1000,
        b":" * 1000,
        b"User-agent:\nDisallow: /\nCrawl-delay: \xff",
    ):
        assert read(body, AGENT).delay_s is None


def test_rules_are_judged_by_who_asks() -> None:
    """However they were read: one reading serves all agents."""
    rules = read(b"User-agent: friendbot\nDisallow:\n\nUser-agent: *\nDisallow: /private", "friendbot/1.0")
    assert rules.allows("/private", "https://a.example/private", "friendbot/1.0")
    assert not rules.allows("/private", "https://a.example/private", AGENT)


def test_a_hostile_one_costs_little_to_keep_and_to_match() -> None:
    """Wildcards above the thousandth are left out, and what is kept is counted as what it takes."""
    body = b"User-agent: *\n" + b"\n".join(b"Disallow:/*-%d-x$" % number for number in range(9_000))
    tracemalloc.start()
    rules = read(body, AGENT)
    rules.allows("/a", "https://a.example/a", AGENT)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 3 << 20
    assert rules.size > taken / 2
    assert not rules.allows("/-999-x", "https://a.example/-999-x", AGENT)
    assert rules.allows("/-1000-x", "https://a.example/-1000-x", AGENT)
