"""``tidegate run``, ``runs`` and ``budget``, each as its command does it, on the embedded broker."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.kafka import Broker
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.errors import BrokerError, ConfigurationError, cause_of
from tidegate.kafka_admin import apply_topics
from tidegate.ledger.entries import Limit, Scope, read_entry
from tidegate.settings import KafkaSettings, Settings
from tidegate.topics import Topic
from tidegate_cli.commands import _budget, _run
from tidegate_cli.exits import Exit

Ask = Callable[[Awaitable[int]], Awaitable[dict[str, Any]]]


@pytest.fixture
async def installation(tansu: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Topics of the test's own, named by the environment; no ClickHouse is there."""
    settings = Settings(
        kafka=KafkaSettings(bootstrap=tansu.bootstrap, prefix=topic_prefix, partitions=2, idempotent=False)
    )
    await apply_topics(settings)
    for name, value in (
        ("KAFKA__BOOTSTRAP", tansu.bootstrap),
        ("KAFKA__PREFIX", topic_prefix),
        ("KAFKA__PARTITIONS", "2"),
        ("KAFKA__IDEMPOTENT", "false"),
        ("CLICKHOUSE__URL", "http://127.0.0.1:9"),
    ):
        monkeypatch.setenv(f"TIDEGATE_{name}", value)
    return settings


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command and return its JSON."""

    async def run(command: Awaitable[int]) -> dict[str, Any]:
        assert await command == Exit.OK
        said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return said

    return run


async def refused(command: Awaitable[int]) -> str:
    """Run a command that a person must have meant otherwise; return what is said."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011 -- looked at below
        await command
    error = cause_of(raised.value)
    assert isinstance(error, ConfigurationError)
    return str(error)


async def test_a_run_is_created_paused_resumed_and_cancelled(installation: Settings, ask: Ask) -> None:
    """The ledger hears of each step before the fetchers do, and a cancelled run stays so."""
    none: Path | None = None
    created = await ask(_run.create_main("spring", budget="25.00", deadline="12h", data=none, as_json=True))
    assert (created["budget"], created["deadline_s"]) == (25_000_000, 43_200)
    assert "exists already" in await refused(
        _run.create_main("spring", budget=None, deadline=None, data=none, as_json=True)
    )
    paused = await ask(_run.change_main("spring", "paused", data=none, as_json=True))
    assert paused["created_at_ms"] > 1_700_000_000_000
    resumed = await ask(_run.change_main("spring", "running", data=none, as_json=True))
    assert {**resumed, "state": "paused"} == paused
    shown = await ask(_run.runs_main(None, data=none, as_json=True))
    (row,) = shown["runs"]
    assert (row["run"], row["state"], row["budget"], row["left"]) == ("spring", "running", "25.00", "25.00")
    assert row["deadline_ms"] == paused["created_at_ms"] + 43_200_000
    assert "127.0.0.1:9" in shown["clickhouse_error"]
    await ask(_run.change_main("spring", "cancelled", data=none, as_json=True))
    assert "was cancelled" in await refused(_run.change_main("spring", "running", data=none, as_json=True))
    assert await _run.runs_main("autumn", data=none, as_json=True) == Exit.CHECK_FAILED
    reader = KafkaReader(installation.kafka)
    kinds = [msgspec.json.decode(record.value)["kind"] async for record in reader.read(Topic.BUDGET, 0)]
    assert [kind for kind in kinds if kind != "mark"] == ["limit", "stop", "stop", "stop"]


async def test_budgets_are_set_listed_and_taken_away(
    installation: Settings, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    """By run, by site, by day; what is written is what the ledger then says."""
    none: Path | None = None

    def set_(amount: str | None, **scope: Any) -> Awaitable[int]:
        wanted = {"run": None, "site": None, "daily": False, **scope}
        return _budget.set_main(amount, **wanted, data=none, as_json=True)

    await ask(set_("10"))
    await ask(set_("0.50", site="shop.example", daily=True))
    found = await ask(set_("2", run="spring"))
    assert [(row["scope"], row["limit"]) for row in found["budgets"]] == [
        ("everything", "10.00"),
        ("site shop.example, a day", "0.50"),
        ("run spring", "2.00"),
    ]
    found = await ask(set_(None, run="spring"))
    assert len(found["budgets"]) == 2
    assert "no budget of run spring" in await refused(set_(None, run="spring"))
    assert "not an amount" in await refused(set_("lots"))
    assert "was not taken out" in await refused(_budget.admit_main("capsolver", data=none, as_json=True))
    assert await _budget.ls_main(data=none, as_json=False) == Exit.OK
    assert "everything" in capsys.readouterr().out
    reader = KafkaReader(installation.kafka)
    entries = [read_entry(record.value) async for record in reader.read(Topic.BUDGET, 0)]
    limits = [entry for entry in entries if isinstance(entry, Limit)]
    assert [limit.scope for limit in limits][:2] == [Scope(), Scope(site="shop.example", daily=True)]


async def test_a_broker_that_is_away_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command waits for ever."""
    monkeypatch.setenv("TIDEGATE_KAFKA__BOOTSTRAP", "127.0.0.1:9")
    with pytest.raises(BrokerError):
        await _budget.ls_main(data=None, as_json=True)
