"""``tidegate doctor``: what is thought of what was found, on both sides of each mark."""

import asyncio
from pathlib import Path

import pytest
from tidegate.clock import SystemClock
from tidegate.proxies import parse
from tidegate.topic_plan import Difference, TopicAction, TopicResult
from tidegate_cli.doctor import judge
from tidegate_cli.doctor.accounts import contact, providers, proxies
from tidegate_cli.doctor.examine import _bounded
from tidegate_cli.doctor.finding import Finding, Status
from tidegate_fetcher.settings import FetcherSettings
from tidegate_solver.settings import ProviderSettings, SolverSettings

OK, WARN, FAIL = Status.OK, Status.WARN, Status.FAIL


def differing(setting: str, found: str | None) -> TopicResult:
    """Return a topic with one setting that is not as declared."""
    difference = Difference(setting=setting, found=found, wanted="x")
    return TopicResult(name="urls", action=TopicAction.DIFFERS, differences=(difference,))


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (TopicResult(name="urls", action=TopicAction.OK), OK),
        (TopicResult(name="urls", action=TopicAction.MISSING), FAIL),
        (differing("partitions", "3"), WARN),
        (differing("retention.ms", "60000"), FAIL),
        (differing("retention.ms", None), WARN),
        (differing("segment.ms", "1"), WARN),
    ],
)
def test_a_topic_that_loses_records_fails(result: TopicResult, status: Status) -> None:
    """What is merely otherwise is a warning; each says which command mends it."""
    (finding,) = judge.topics([result])
    assert finding.status is status
    assert ("topics apply" in finding.mend) is (status is not OK)


@pytest.mark.parametrize(
    ("offset_ms", "uncertain_ms", "status"),
    [
        (1_999, 0, OK),
        (2_000, 0, WARN),
        (-2_000, 0, WARN),
        (2_500, 600, OK),
        (59_999, 0, WARN),
        (-60_000, 0, FAIL),
    ],
)
def test_a_clock_is_judged_by_what_is_certain(offset_ms: int, uncertain_ms: int, status: Status) -> None:
    """A slow answer is no skew."""
    assert judge.clock("broker clock", offset_ms, uncertain_ms).status is status


@pytest.mark.parametrize(
    ("found", "changed", "status"),
    [(4, (), OK), (5, (), OK), (3, (), FAIL), (0, (), FAIL), (4, ("0001",), FAIL)],
)
def test_a_schema_must_be_as_new_as_this_build(found: int, changed: tuple[str, ...], status: Status) -> None:
    """And be the one that this build knows."""
    assert judge.schema(found, 4, changed).status is status


@pytest.mark.parametrize(("free", "status"), [(11, OK), (9, WARN), (1, FAIL)])
def test_a_full_disk_is_told_before_it_is_full(free: int, status: Status) -> None:
    """Of the fullest disk."""
    assert judge.disk(free, 100).status is status


@pytest.mark.parametrize(("amount", "status"), [(1.0, OK), (0.99, WARN), (0.0, FAIL), (-1.0, FAIL)])
def test_an_account_is_judged_by_what_is_left(amount: float, status: Status) -> None:
    """The mark is the setting's."""
    assert judge.balance("provider x", amount, 1.0, threads=False).status is status


def test_a_seller_of_threads_has_no_dollars() -> None:
    """Its balance is a number of threads."""
    assert judge.balance("provider x", 3, 1.0, threads=True).message == "3 threads free"
    assert judge.balance("provider x", 0, 1.0, threads=True).status is WARN


def test_partitions_without_a_leader_fail_and_replicas_behind_warn() -> None:
    """They are named."""
    partition = {"partition": 0, "leader": 1, "replicas": [1, 2], "isr": [1, 2]}

    def judged(**changes: object) -> Finding:
        return judge.replicas([{"topic": "urls", "partitions": [{**partition, **changes}]}], 2, "")

    assert judged().status is OK
    assert judged(isr=[1]).status is WARN
    assert judged(leader=-1).status is FAIL
    assert "urls[0]" in judged(leader=-1).message


@pytest.mark.parametrize(("count", "status"), [(1, OK), (0, WARN), (None, WARN)])
def test_a_service_that_does_not_run_is_a_warning(count: int | None, status: Status) -> None:
    """It may be about to start, or be switched off on purpose."""
    assert judge.members("solver", count, "stable").status is status


def test_proxies_are_judged_without_naming_them() -> None:
    """A list holds passwords: lines are named by number."""
    findings = judge.proxies(parse(b"http://u:hunter2@a.example:80\nno proxy: hunter2 !\n"))
    assert [finding.status for finding in findings] == [WARN, OK]
    assert "hunter2" not in repr(findings)


def test_the_user_agent_must_name_a_contact() -> None:
    """The default one does not."""
    assert contact(FetcherSettings())[0].status is WARN
    assert contact(FetcherSettings(user_agent="shop (+mailto:me@example.org)"))[0].status is OK


def test_an_account_without_a_key_or_a_profile_is_told_of() -> None:
    """Before anything is asked."""
    settings = SolverSettings(providers={"capsolver": ProviderSettings(), "nobody": ProviderSettings()})
    findings = asyncio.run(providers(settings, SystemClock()))
    assert [(each.check, each.status) for each in findings] == [
        ("provider capsolver", WARN),
        ("provider nobody", FAIL),
    ]
    assert asyncio.run(proxies(FetcherSettings()))[0].status is OK
    gone = asyncio.run(proxies(FetcherSettings(proxies_file=Path("/no/such/list"))))
    assert gone[0].status is FAIL


def test_what_cannot_be_reached_is_a_finding() -> None:
    """The other looks go on."""

    async def look() -> list[Finding]:
        raise OSError("connection refused")

    (finding,) = asyncio.run(_bounded("brokers", "check it", look))
    assert (finding.status, finding.message, finding.mend) == (FAIL, "connection refused", "check it")
