"""What a whole site behind challenges costs: a solve for as many pages as it opens, a clearance once."""

import math
import re
import signal
from pathlib import Path

import pytest
from prometheus_client.samples import Sample
from support.campaign import outcomes, settled, submit, views
from support.demo_processes import get_json, process
from support.kafka import ignore
from support.observability import scraped, seven, total
from tidegate_cli.demo_site.challenges import CLEARANCES, LAYOUTS
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.parts import simulator_settings
from tidegate_cli.stack.ports import PortPool, another_host
from tidegate_cli.stack.stack import running_stack

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]

GRACE = 6
# All documents are protected, and there are as many pages behind each other kind and behind a clearance.
SITE = ("--pages", "6", "--protected", "1", "--guarded", "2", "--grace", str(GRACE))


def listed(site: str) -> list[str]:
    """Return the site's protected pages."""
    pages = get_json(f"{site}/manifest.json")["pages"]
    return [site + page["path"] for page in pages if page["protected"] and page["listed"]]


def accepted(site: str) -> dict[str, int]:
    """Return how many answers the site took, by kind."""
    found: dict[str, int] = get_json(f"{site}/log.json")["tokens"]["accepted_by_kind"]
    return found


def the_seven_numbers_are_told(told: list[Sample], *, pages: int, listed: int) -> None:
    """Compare what Prometheus is told with what happened; ``pages`` came since the fetcher was alone."""
    names = {sample.name for sample in told}
    for number, promql in seven().items():
        assert set(re.findall(r"\btidegate_\w+", promql)) <= names, number
    assert total(told, "tidegate_fetches_total", outcome="page") >= pages
    assert total(told, "tidegate_challenges_total") >= 1
    assert total(told, "tidegate_solves_total", status="solved") >= 1
    assert total(told, "tidegate_solve_duration_seconds_bucket", le="+Inf") >= 1
    assert total(told, "tidegate_downstream_lag") >= 0
    assert total(told, "tidegate_proxies_listed") == listed
    assert total(told, "tidegate_proxies_healthy") == listed


async def test_three_fetchers_kills_and_a_rebalance_cost_no_solve_twice(tmp_path: Path) -> None:
    """Who takes the site over comes as who was let in (M6): as many solves as without it."""
    policy = '[[host]]\nmatch = ["127.0.0.1"]\nimage = {selector = "img#captcha", field = "code"}'
    (tmp_path / "policy.toml").write_text(policy)
    # Where there is a second loopback address, what was bought through the proxy opens nothing without it.
    proxy = f"{another_host()}:{PortPool().take()}"
    (tmp_path / "proxies").write_text(f"{proxy}\n")
    with (
        process("tidegate_cli.simulator") as simulator,
        process(
            "tidegate_cli.demo_site", "--simulator", simulator, "--proxy", proxy, "--pictures", *SITE
        ) as site,
    ):
        urls = listed(site)
        options = StackOptions(
            data_dir=tmp_path / "data",
            services=(("fetcher", 3), ("solver", 1), ("storer", 1)),
            partitions=3,
            env={
                **simulator_settings(simulator),
                "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
                "TIDEGATE_FETCHER__POLICY_FILE": str(tmp_path / "policy.toml"),
                "TIDEGATE_FETCHER__PROXIES_FILE": str(tmp_path / "proxies"),
                "TIDEGATE_SOLVER__PROXIES": proxy,
                "TIDEGATE_FETCHER__SOLVE_HOSTS": "127.0.0.1",
                "TIDEGATE_FETCHER__SITE_CONCURRENCY": "2",
                "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "2",
            },
        )
        async with running_stack(options, ignore) as stack:
            ids = await submit(stack, "solves", urls[::2], per_second=100)
            await settled(views(stack), "solves", len(ids), within_s=180)
            for name in ("fetcher", "fetcher-2"):
                stack.kill(name, signal.SIGKILL)
            more = await submit(stack, "after", urls[1::2], per_second=100)
            await settled(views(stack), "after", len(more), within_s=180)
            found = [row for run in ("solves", "after") for row in outcomes(views(stack), run)]
            told = scraped(stack.process(name) for name in ("fetcher-3", "solver"))
        solves = accepted(site)
    the_seven_numbers_are_told(told, pages=len(more), listed=1)
    assert len(found) == len(urls)
    assert {row.view for row in found} == {"pages"}
    assert solves.keys() - CLEARANCES.keys() <= LAYOUTS.keys()
    assert {kind: solves.pop(kind) for kind in CLEARANCES} == dict.fromkeys(CLEARANCES, 1)
    cleared = [url for url in urls if any(f"/{kind}/" in url for kind in CLEARANCES)]
    assert sum(solves.values()) == math.ceil((len(urls) - len(cleared)) / (1 + GRACE))
