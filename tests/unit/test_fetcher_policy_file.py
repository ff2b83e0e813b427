"""The policy file: read closely, looked up by the most specific pattern, followed while the service runs."""

import asyncio
from pathlib import Path

import jsonschema
import pytest
from tidegate.errors import ConfigurationError
from tidegate.events import Event
from tidegate.host_policy import HostPolicies, SubmitRecipe, filled, parse
from tidegate.outcome import Reason
from tidegate.schemas import schema_of
from tidegate.testing.manual_clock import ManualClock
from tidegate_fetcher.policy import HostRules, Policy
from tidegate_fetcher.policy_watch import PolicyWatch
from tidegate_fetcher.site_policies import SitePolicies, SitePolicy
from tidegate_fetcher.site_slots import SiteRule
from yarl import URL

FILE = b"""
version = 1

[default]
robots = true
rate = 5

[[host]]
match = ["Shop.example", "*.shop.example"]
rate = 0.5
concurrency = 2
solve = true
max_cost = 0.004
user_agent = "Shopper/1"

[[host]]
match = ["static.shop.example:8443"]
rate = 4
robots = false

[[host]]
match = ["*"]
solve = false
"""


def policies_of(data: bytes) -> SitePolicies:
    """Return the policies of a file over plain settings."""
    policies = SitePolicies(SitePolicy(rule=SiteRule(concurrency=8), robots=False, user_agent="Settings/1"))
    policies.use(parse(data))
    return policies


@pytest.mark.parametrize(
    ("site", "pattern"),
    [
        ("shop.example", "shop.example"),
        ("shop.example:8080", "shop.example"),
        ("a.b.shop.example", "*.shop.example"),
        ("static.shop.example:8443", "static.shop.example:8443"),
        ("static.shop.example", "*.shop.example"),
        ("xshop.example", "*"),
        ("[::1]:8080", "*"),
    ],
)
def test_the_most_specific_pattern_decides(site: str, pattern: str) -> None:
    """A host with its port, the host, the longest domain above it, all."""
    found = HostPolicies(parse(FILE)).entry_of(site)
    assert found is not None
    assert found[1] == pattern


def test_an_entry_is_filled_up_from_the_default_and_the_settings() -> None:
    """The entry alone decides; other entries that match, too, do not."""
    policies = policies_of(FILE)
    shop = policies.of("www.shop.example")
    assert (shop.rule.per_second, shop.rule.concurrency, shop.rule.burst) == (0.5, 2, 1)
    assert (shop.robots, policies.of("static.shop.example:8443").robots) == (True, False)
    assert (shop.solve, shop.max_cost, shop.user_agent) == (True, 0.004, "Shopper/1")
    static = policies.of("static.shop.example:8443")
    assert (static.rule.per_second, static.rule.concurrency, static.solve) == (4.0, 8, None)
    assert static.user_agent == "Settings/1"
    assert static.source == "host entry 2 (static.shop.example:8443)"


def test_without_a_file_the_settings_hold() -> None:
    """And with a default only, that one."""
    assert policies_of(b"").of("any.example").source == "the settings"
    assert policies_of(b"[default]\nrate = 1").of("any.example").source == "the file's default"
    assert not policies_of(b"").has_rates
    assert policies_of(b"[default]\nrate = 1").has_rates


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rate = 1", "unknown field `rate`"),
        ("[[host]]\nrate = 1", "host entry 1, itself: Object missing required field `match`"),
        ('[[host]]\nmatch = ["a.example"]\nrates = 1', "host entry 1, itself: .*`rates`"),
        ('[[host]]\nmatch = ["a.example"]\nrate = 0', "host entry 1, rate: Expected `float` > 0"),
        ('[[host]]\nmatch = ["a.example"]\n[[host]]\nmatch = ["A.example."]', "entries 1 and 2 both match"),
        ('[[host]]\nmatch = ["http://a.example/"]', "host entry 1: 'http://a.example/' is no pattern"),
        ('[[host]]\nmatch = ["a*.example"]', "is no pattern"),
        (
            '[[host]]\nmatch = ["a.example"]\nsubmit = {url = "/v", fields = {a = "b"}}',
            "no field with {token}",
        ),
        ('[[host]]\nmatch = ["a.example"]\nimage = {selector = "div > img"}', "image.selector"),
        ("[[host", "it is no TOML: Expected"),
        ("version = 2", "version: "),
        ("#" * (1 << 20) + "\n#", "longer than 1 MiB"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(text: str, sentence: str) -> None:
    """In a sentence that leads a person there."""
    with pytest.raises(ConfigurationError, match=sentence):
        policies_of(text.encode())


def test_the_published_schema_is_closed() -> None:
    """An editor that knows it marks what the service would refuse."""
    validator = jsonschema.Draft202012Validator(schema_of("policy"))
    assert validator.is_valid({"host": [{"match": ["a.example"], "rate": 1}]})
    assert not validator.is_valid({"hosts": []})
    assert not validator.is_valid({"host": [{"rate": 1}]})
    assert not validator.is_valid({"host": [{"match": ["a.example"], "rate": 0}]})


def test_every_word_of_the_file_is_explained() -> None:
    """In docs/policy.md."""
    page = (Path(__file__).parents[2] / "docs/policy.md").read_text("utf-8")
    for definition in schema_of("policy")["$defs"].values():
        for word in definition["properties"]:
            assert f"`{word}`" in page or f"`{word} " in page, word


def test_solving_is_allowed_by_the_file_before_the_settings() -> None:
    """And a refusal says which line would allow it."""
    policies = policies_of(FILE)
    policy = Policy(solve_hosts=HostRules(["other.example", "static.shop.example"]), sites=policies)
    assert policy.solve_refusal(URL("https://www.shop.example/x")) is None
    assert policy.solve_refusal(URL("https://static.shop.example:8443/x")) is None
    refusal = policy.solve_refusal(URL("https://other.example/"))
    assert refusal is not None
    assert refusal.reason is Reason.SOLVE_NOT_ALLOWED
    assert 'match = ["other.example"]; host entry 3 (*) says false' in refusal.message
    refusal = Policy(sites=policies_of(b"")).solve_refusal(URL("https://other.example/"))
    assert refusal is not None
    assert "TIDEGATE_FETCHER__SOLVE_HOSTS=other.example" in refusal.message


def test_the_least_price_limit_holds() -> None:
    """The job's, or the file's."""
    policy = Policy(sites=policies_of(FILE))
    shop, other = URL("https://shop.example/"), URL("https://other.example/")
    assert [policy.max_cost(shop, asked) for asked in (None, 0.001, 1.0)] == [0.004, 0.001, 0.004]
    assert [policy.max_cost(other, asked) for asked in (None, 1.0)] == [None, 1.0]


def test_a_recipe_is_filled_with_the_answer() -> None:
    """What it asks for and the answer does not have, is no request."""
    recipe = SubmitRecipe(url="/v", fields={"code": "{token}", "fixed": "1", "both": "{gt}-{token}"})
    assert filled(recipe, {"token": "t{gt}", "gt": "g"}) == [
        ("code", "t{gt}"),
        ("fixed", "1"),
        ("both", "g-t{gt}"),
    ]
    assert filled(recipe, {"token": "t"}) is None


async def test_a_changed_file_holds_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    """The last good one stays in force; each mistake is told of once."""
    path = tmp_path / "policy.toml"
    path.write_text("[default]\nrate = 1")
    clock, told = ManualClock(), list[Event]()
    policies = policies_of(b"")
    watch = PolicyWatch(path, policies, clock, told.append)
    await watch.begin()
    assert policies.of("a.example").rule.per_second == 1
    looking = asyncio.ensure_future(watch.run())
    try:
        for text, expected in (("[default]\nrate = 2", 2), ("rates = 2", 2), ("", None)):
            new = tmp_path / "new"
            new.write_text(text)
            new.rename(path)
            so_far, more = len(told), 2
            async with asyncio.timeout(60):
                while more:  # looks on after it was told, for what is told twice
                    more -= len(told) > so_far
                    await asyncio.sleep(0.005)  # noqa: TID251 -- a thread reads the file
                    clock.advance(10.0)
            assert policies.of("a.example").rule.per_second == expected
    finally:
        looking.cancel()
    names = [type(event).__name__ for event in told]
    assert names == ["PolicyLoaded", "PolicyLoaded", "PolicyRefused", "PolicyLoaded"]
    path.write_text("rates = 1")
    with pytest.raises(ConfigurationError, match=r"policy\.toml"):
        await PolicyWatch(path, policies, clock, told.append).begin()


def test_a_host_may_be_an_address_or_a_name_in_any_script() -> None:
    """As sites are written."""
    policies = policies_of('[[host]]\nmatch = ["[::1]:8080", "bücher.example"]\nrate = 1'.encode())
    for site in ("[::1]:8080", "xn--bcher-kva.example"):
        assert policies.of(site).rule.per_second == 1
