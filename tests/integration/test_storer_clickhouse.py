"""The storer on ClickHouse's own engine behind HTTP: migrations, batches, refusals, outages."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from random import Random
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio
from support.faulty_proxy import Kind, NetworkFault, faulty_proxy
from support.storer import (
    EPOCH_MS,
    Endpoint,
    dead_record,
    job_state,
    page_record,
    solve_record,
    storing,
    until,
)
from tidegate.captcha_records import SolutionStatus
from tidegate.clock import SystemClock
from tidegate.errors import ClickHouseError, ConfigurationError
from tidegate.events import Event
from tidegate.outcome import Dead, Done, Outcome, Reason
from tidegate.records import ChallengeKind, Inbound, SolveSummary, body_hash
from tidegate.settings import ClickHouseSettings
from tidegate_cli.stack.ports import PortPool
from tidegate_storer import events
from tidegate_storer.batch import Limits
from tidegate_storer.clickhouse import ClickHouse, connected
from tidegate_storer.grants import example_users, grants, tables, views
from tidegate_storer.handler import StorerService
from tidegate_storer.migrate import migrate
from tidegate_storer.parser_pool import ParserPool
from tidegate_storer.parsers import installed
from tidegate_storer.schema import check_schema, migrations
from tidegate_storer.settings import StorerSettings
from tidegate_storer.tables import BODIES, OUTCOMES, WRITE_ORDER

pytestmark = pytest.mark.asyncio(loop_scope="module")
_QUICK = Limits(rows=500, age_s=0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoint(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoint]:
    """Start the engine once for all tests here."""
    endpoint = Endpoint(tmp_path_factory.mktemp("clickhouse"))
    await endpoint.start()
    try:
        yield endpoint
    finally:
        await endpoint.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def server(endpoint: Endpoint) -> ClickHouseSettings:
    """Return an empty, migrated database of the test's own."""
    settings = endpoint.settings.model_copy(update={"database": f"t{uuid4().hex[:8]}"})
    await migrate(settings, StorerSettings(), SystemClock())
    return settings


@pytest_asyncio.fixture(loop_scope="module")
async def clickhouse(server: ClickHouseSettings) -> AsyncIterator[ClickHouse]:
    """Connect to it."""
    async with connected(server, timeout_s=30) as clickhouse:
        yield clickhouse


async def store(service: StorerService, records: Sequence[Inbound]) -> list[Outcome]:
    """Handle all records at once, as the runtime's window does."""
    return await asyncio.gather(*(service.handle(service.decode(record)) for record in records))


async def value(clickhouse: ClickHouse, sql: str) -> object:
    """Return the one value that a query answers."""
    ((answer,),) = await clickhouse.query(sql)
    return answer


async def command(clickhouse: ClickHouse, sql: str) -> None:
    """Run a statement."""
    client = await clickhouse._connected()
    await client.command(sql)


def held(said: Sequence[Event]) -> bool:
    """Whether an insert was held back."""
    return any(isinstance(event, events.InsertHeld) for event in said)


class TestMigrate:
    async def test_it_may_be_run_twice_and_by_two_at_once(self, endpoint: Endpoint) -> None:
        """Every pod may run it at its start."""
        settings = endpoint.settings.model_copy(update={"database": f"t{uuid4().hex[:8]}"})
        runs = [migrate(settings, StorerSettings(), SystemClock()) for _ in range(3)]
        await asyncio.gather(*runs)
        assert await migrate(settings, StorerSettings(), SystemClock()) == []
        async with connected(settings, timeout_s=30) as clickhouse:
            assert await check_schema(clickhouse) == migrations()[-1].version
            names = [row[0] for row in await clickhouse.query("SHOW TABLES")]
        assert {"pages", "dead_letters", "solves", "jobs", "bodies", "pages_with_bodies"} <= set(names)

    async def test_bodies_are_merged_less_often(self, clickhouse: ClickHouse) -> None:
        """ADR 0024. Where ClickHouse dropped the setting's name, the migration would have failed here."""
        made = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'bodies'"
        assert "merge_selector_base = 12" in str(await value(clickhouse, made))

    async def test_an_unmigrated_database_says_what_to_run(self, endpoint: Endpoint) -> None:
        """The storer does not start on it."""
        settings = endpoint.settings.model_copy(update={"database": "default"})
        async with connected(settings, timeout_s=30) as clickhouse:
            with pytest.raises(ConfigurationError, match="tidegate_storer migrate"):
                await check_schema(clickhouse)

    async def test_a_changed_migration_is_noticed(
        self, server: ClickHouseSettings, clickhouse: ClickHouse
    ) -> None:
        """A database of another build is not touched."""
        await command(
            clickhouse,
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (1, 'tables', 'other')",
        )
        with pytest.raises(ConfigurationError, match="0001_tables"):
            await migrate(server, StorerSettings(), SystemClock())

    async def test_retention_follows_the_settings_both_ways(
        self, server: ClickHouseSettings, clickhouse: ClickHouse
    ) -> None:
        """It may be set, changed and taken away again; a run without the variables leaves it alone."""

        async def ttl(table: str) -> bool:
            sql = (
                f"SELECT create_table_query LIKE '%IntervalDay(%' FROM system.tables WHERE name = '{table}' "
            )
            return bool(await value(clickhouse, sql + f"AND database = '{server.database}'"))

        keep = StorerSettings(ttl_days=30, ttl_dead_letters_days=40, ttl_outcomes_days=90)
        await migrate(server, keep, SystemClock())
        await migrate(server, keep, SystemClock())
        assert [await ttl(table.name) for table in WRITE_ORDER] == [True, True, True, False, True]
        await migrate(server, StorerSettings(), SystemClock())
        assert [await ttl(table.name) for table in WRITE_ORDER] == [True, True, True, False, True]
        forever = StorerSettings(ttl_days=0, ttl_dead_letters_days=0, ttl_outcomes_days=0)
        await migrate(server, forever, SystemClock())
        assert not any([await ttl(table.name) for table in WRITE_ORDER])

    async def test_a_retention_is_judged_together_with_what_the_tables_have(
        self, server: ClickHouseSettings
    ) -> None:
        """Pages that would outlive the outcomes that an earlier run set are refused (O1)."""
        keep = StorerSettings(ttl_days=30, ttl_dead_letters_days=30, ttl_outcomes_days=60)
        await migrate(server, keep, SystemClock())
        with pytest.raises(ConfigurationError, match="at least twice"):
            await migrate(server, StorerSettings(ttl_days=31), SystemClock())
        await migrate(server, StorerSettings(ttl_days=29), SystemClock())

    async def test_expired_rows_go_and_their_outcome_stays(
        self, server: ClickHouseSettings, clickhouse: ClickHouse
    ) -> None:
        """A page that expired still beats a dead letter of its job (O1)."""
        async with storing(clickhouse, limits=_QUICK) as service:
            old = job_state("old", accepted_at_ms=EPOCH_MS - 400 * 86_400_000)
            await store(service, [page_record(old)])
            await migrate(server, StorerSettings(ttl_days=30, ttl_dead_letters_days=3_000), SystemClock())
            for table in ("pages_log", "bodies"):
                await command(clickhouse, f"OPTIMIZE TABLE {table} FINAL")
                assert await value(clickhouse, f"SELECT count() FROM {table}") == 0
            await store(service, [dead_record(old, offset=9)])
        assert await value(clickhouse, "SELECT count() FROM dead_letters") == 0
        assert await clickhouse.query("SELECT id, outcome FROM jobs") == [("old", "page")]

    async def test_a_server_that_is_away_ends_the_command_with_a_sentence(self) -> None:
        """Exit code 1, and 2 for what a person must mend."""
        for environment, code in (
            ({"TIDEGATE_CLICKHOUSE__URL": "http://127.0.0.1:9"}, 1),
            ({"TIDEGATE_CLICKHOUSE__URL": "ftp://nowhere"}, 2),
        ):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tidegate_storer",
                "migrate",
                env={**environment, "TIDEGATE_STORER__MIGRATE_WAIT_S": "0.3"},
                stderr=asyncio.subprocess.PIPE,
            )
            _, stderr = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == code
            assert b"cannot migrate" in stderr
            assert b"Traceback" not in stderr


class TestStoring:
    async def test_four_thousand_pages_with_their_bodies(self, clickhouse: ClickHouse) -> None:
        """As many rows as pages, every body equal to what was served, parsed in worker processes."""
        pages = [
            page_record(
                job_state(f"job-{number}"),
                b"<html><title>Page %d</title>" % number + b"<p>text</p>" * (number % 100) + b"\x00\xff",
                offset=number,
                partition=number % 12,
            )
            for number in range(4_000)
        ]
        pool = ParserPool(
            workers=2,
            timeout_s=30,
            memory_mb=512,
            registry=installed(),
            clock=SystemClock(),
            emit=lambda event: None,
        )
        async with pool.running(), storing(clickhouse, limits=_QUICK, parse=pool.parse) as service:
            assert set(map(type, await store(service, pages))) == {Done}
            # Half of them again, in other batches: a redo after a crash.
            await store(service, pages[1_001:3_003])
        assert await value(clickhouse, "SELECT count() FROM pages") == 4_000
        assert await value(clickhouse, "SELECT count() FROM jobs WHERE outcome = 'page'") == 4_000
        rows = await clickhouse.query("SELECT id, title, body_hash, lower(hex(body)) FROM pages_with_bodies")
        assert len(rows) == 4_000
        for job, title, digest, body in rows:
            assert title == f"Page {job.removeprefix('job-')}"
            assert body_hash(bytes.fromhex(body)) == digest

    async def test_every_column_arrives_as_it_was(self, clickhouse: ClickHouse) -> None:
        """Types, maps, arrays, JSON and times survive the way through the client and the server."""
        solves = (SolveSummary(request_id="r", kind=ChallengeKind.HCAPTCHA, provider="p", cost=0.25),)
        state = job_state("ünï", attempts={"blocked": 2}, solves=solves)
        record = page_record(
            state,
            offset=5,
            partition=3,
            challenges=1,
            proxy_id="p1",
            metadata=msgspec.Raw(b'{"sku":[1,{"a":null}]}'),
            headers={"Content-Type": "text/html", "x": "ü"},
        )
        async with storing(clickhouse, limits=_QUICK) as service:
            await store(service, [record])
        (row,) = await clickhouse.query(
            "SELECT run, id, url, status, attempts, solve_cost, headers['x'], proxy_id, lane, challenges, "
            "JSONExtractInt(metadata, 'sku', 1), toUnixTimestamp64Milli(accepted_at), "
            "toUnixTimestamp64Milli(recorded_at), record_topic, record_partition, record_offset FROM pages"
        )
        assert row == (
            "run", "ünï", "https://shop.example/ünï", 200, {"blocked": 2}, 0.25, "ü", "p1", "normal", 1,
            1, EPOCH_MS, EPOCH_MS + 5, "pages", 3, 5,
        )  # fmt: skip

    async def test_dead_letters_are_redacted_and_solves_collapse(self, clickhouse: ClickHouse) -> None:
        """The row of a dead letter holds no secret (O7); a request has one row, the paid one."""
        original = b'{"url":"https://u:hunter2@a.example/x","headers":{"Cookie":"hunter2"}}'
        dead = dead_record(
            job_state("d", attempts={"blocked": 3}), original, final_url="https://u:hunter2@a.example/y"
        )
        again = solve_record(offset=2, status=SolutionStatus.EXPIRED_UNBOUGHT, cost=0.0)
        async with storing(clickhouse, limits=_QUICK) as service:
            await store(service, [dead, solve_record(offset=1), again])
        rows = await clickhouse.query("SELECT * FROM dead_letters")
        assert "hunter2" not in repr(rows)
        (row,) = await clickhouse.query(
            "SELECT url, final_url, reason, last_status, attempts, original_length FROM dead_letters"
        )
        assert row == (
            "https://a.example/x", "https://a.example/y", "retries_exhausted", 403, {"blocked": 3},
            len(original),
        )  # fmt: skip
        assert await clickhouse.query("SELECT request_id, status, cost FROM solves") == [
            ("request-1", "solved", 0.002)
        ]

    async def test_costs_add_up_to_the_millionth_by_page_site_run_and_provider(
        self, clickhouse: ClickHouse
    ) -> None:
        """Decimals, not floats; what is in doubt is told apart, and what was written twice counts once."""
        records = [
            solve_record(f"r{number}", offset=number, cost=0.1, job_id=f"job-{number % 3}")
            for number in range(9)
        ]
        records += [
            solve_record("doubt", offset=9, cost=0.2, in_doubt=True, status=SolutionStatus.FAILED),
            # Of a solver that did not say so yet.
            solve_record("old", offset=10, cost=0.3, error_code="in_doubt", status=SolutionStatus.FAILED),
            solve_record("no", offset=11, cost=0.0, provider=None, status=SolutionStatus.REFUSED),
            solve_record("r0", offset=12, cost=0.1, job_id="job-0"),
            page_record(job_state("job-0"), offset=1),
        ]
        async with storing(clickhouse, limits=_QUICK) as service:
            await store(service, records)
        pages = await clickhouse.query("SELECT id, requests, solved, cost_usd FROM cost_per_page ORDER BY id")
        cent = Decimal("0.1")
        assert pages == [("job-0", 3, 3, 3 * cent), ("job-1", 6, 3, 8 * cent), ("job-2", 3, 3, 3 * cent)]
        (run,) = await clickhouse.query(
            "SELECT run, requests, solved, cost_usd, in_doubt_usd, pages, usd_per_page FROM cost_per_run"
        )
        assert run == ("run", 12, 9, 14 * cent, 5 * cent, 1, 14 * cent)
        (site,) = await clickhouse.query("SELECT site, cost_usd, in_doubt_usd FROM cost_per_site")
        assert site == ("shop.example", 14 * cent, 5 * cent)
        (provider,) = await clickhouse.query(
            "SELECT provider, kind, tasks, solved, cost_usd, median_s FROM cost_per_provider"
        )
        assert provider == ("capsolver", "turnstile", 11, 9, 14 * cent, 8.99)

    async def test_an_insert_that_is_sent_twice_is_there_once(self, clickhouse: ClickHouse) -> None:
        """What the client does after a stale connection; the table must have a window for it (O4).

        The token decides, not the bytes: a row may be made anew a little differently.
        """
        for site in ("s", "s", "t"):
            row = ("run", "a", 7, "page", site, 200, "", EPOCH_MS, EPOCH_MS)
            await clickhouse.insert(OUTCOMES, [row], "token-1")
        assert await value(clickhouse, "SELECT count() FROM outcomes") == 1

    async def test_a_value_that_does_not_fit_is_a_data_error(self, clickhouse: ClickHouse) -> None:
        """Also where the client finds it before the server does; nothing of the batch is written."""
        good = ("run", "a", 7, "page", "s", 200, "", EPOCH_MS, EPOCH_MS)
        bad = ("run", "b", 7, "page", "s", "no number", "", EPOCH_MS, EPOCH_MS)
        with pytest.raises(ClickHouseError) as caught:
            await clickhouse.insert(OUTCOMES, [good, bad], "token-2")
        assert caught.value.code == 53
        assert await value(clickhouse, "SELECT count() FROM outcomes") == 0

    async def test_a_row_that_the_server_refuses_is_isolated(self, clickhouse: ClickHouse) -> None:
        """One page of two hundred breaks a constraint: it alone is dead, its body is kept (O5)."""
        await command(clickhouse, "ALTER TABLE pages_log ADD CONSTRAINT c CHECK id != 'job-77'")
        said: list[Event] = []
        pages = [page_record(job_state(f"job-{n}"), b"%d" % n, offset=n) for n in range(200)]
        async with storing(clickhouse, limits=_QUICK, emit=said.append) as service:
            outcomes = await store(service, pages)
            assert [type(outcome) for outcome in outcomes].count(Done) == 199
            dead = outcomes[77]
            assert isinstance(dead, Dead)
            assert dead.reason is Reason.ROW_REFUSED
            # The runtime makes a dead letter of it, and that gets its row.
            await store(service, [dead_record(job_state("job-77"), offset=1, reason=dead.reason)])
        assert await value(clickhouse, "SELECT count() FROM pages") == 199
        assert await clickhouse.query("SELECT id, outcome FROM jobs WHERE outcome != 'page'") == [
            ("job-77", "dead_letter")
        ]
        assert await value(clickhouse, "SELECT count() FROM bodies FINAL") == 200
        assert sum(isinstance(event, events.RowRefused) for event in said) == 1

    async def test_a_dead_letter_that_the_server_refuses_becomes_minimal(
        self, clickhouse: ClickHouse
    ) -> None:
        """Its identity and its reason are there (O5)."""
        await command(
            clickhouse, "ALTER TABLE dead_letters_log ADD CONSTRAINT c CHECK NOT match(message, 'evil')"
        )
        letters = [dead_record(job_state("bad"), message="evil"), dead_record(job_state("good"), offset=1)]
        async with storing(clickhouse, limits=_QUICK) as service:
            assert await store(service, letters) == [Done(), Done()]
        assert await clickhouse.query("SELECT id, reason, minimal FROM dead_letters ORDER BY id") == [
            ("bad", "retries_exhausted", True),
            ("good", "retries_exhausted", False),
        ]


class TestOutage:
    async def test_a_server_that_stops_reading_is_not_waited_for_for_ever(
        self, endpoint: Endpoint, server: ClickHouseSettings
    ) -> None:
        """Nobody knows what became of the insert: it is held and sent again, with a word about it (O5)."""
        body = Random(1).randbytes(8 << 20)
        row = (body_hash(body), EPOCH_MS, len(body), body)
        small = ("run", "a", 7, "page", "s", 200, "", EPOCH_MS, EPOCH_MS)
        async with faulty_proxy(PortPool().take(), endpoint.port) as proxy:
            through = server.model_copy(update={"url": proxy.url})
            async with connected(through, timeout_s=1) as clickhouse:
                await clickhouse.insert(OUTCOMES, [small], "token-1")
                proxy.break_with(NetworkFault(kind=Kind.BLACK_HOLE))
                with pytest.raises(ClickHouseError) as caught:
                    await asyncio.wait_for(clickhouse.insert(BODIES, [row], "token-2"), 30)
                assert caught.value.code == 0
                proxy.heal()
                await clickhouse.insert(BODIES, [row], "token-2")
                assert await value(clickhouse, "SELECT count() FROM bodies") == 1

    async def test_a_killed_server_holds_the_handlers_until_it_is_back(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Nothing is refused, nothing is lost, nothing is doubled, however long it takes (O5)."""
        endpoint = Endpoint(tmp_path_factory.mktemp("away"))
        await endpoint.start()
        said: list[Event] = []
        try:
            await migrate(endpoint.settings, StorerSettings(), SystemClock())
            async with (
                connected(endpoint.settings, timeout_s=5) as clickhouse,
                storing(clickhouse, limits=Limits(rows=50, age_s=0.1), emit=said.append) as service,
            ):
                first = [page_record(job_state(f"a{n}"), b"%d" % n, offset=n) for n in range(100)]
                await store(service, first)
                await endpoint.stop(kill=True)
                more = [page_record(job_state(f"b{n}"), b"%d" % n, offset=200 + n) for n in range(300)]
                waiting = asyncio.ensure_future(store(service, [*more, *first]))
                await until(lambda: held(said))
                assert not waiting.done()
                await endpoint.start()
                outcomes = await asyncio.wait_for(waiting, 60)
                assert set(map(type, outcomes)) == {Done}
                assert await value(clickhouse, "SELECT count() FROM pages") == 400
                assert await value(clickhouse, "SELECT uniqExact(id) FROM pages") == 400
        finally:
            await endpoint.stop()

    async def test_a_server_that_lost_its_tables_refuses_no_row(
        self, server: ClickHouseSettings, clickhouse: ClickHouse
    ) -> None:
        """A missing table says nothing about rows: they wait until somebody has migrated."""
        said: list[Event] = []
        await command(clickhouse, "RENAME TABLE pages_log TO elsewhere")
        async with storing(clickhouse, limits=_QUICK, emit=said.append) as service:
            waiting = asyncio.ensure_future(store(service, [page_record(job_state("a"))]))
            await until(lambda: held(said))
            await command(clickhouse, "RENAME TABLE elsewhere TO pages_log")
            assert await asyncio.wait_for(waiting, 60) == [Done()]
        assert await value(clickhouse, "SELECT count() FROM pages") == 1
        assert {event.code for event in said if isinstance(event, events.InsertHeld)} == {60}


@pytest.mark.parametrize("cluster", [None, "main"])
async def test_the_rights_of_users_are_statements_that_the_server_reads(
    clickhouse: ClickHouse, cluster: str | None
) -> None:
    """The embedded engine has no users, but reads what would make them; tables and views are all there."""
    for statement in (*grants("tidegate", cluster=cluster), *example_users(cluster=cluster)):
        await clickhouse.query(f"EXPLAIN AST {statement}")
    found = await clickhouse.query(
        "SELECT name, engine = 'View' FROM system.tables WHERE database = currentDatabase()"
    )
    assert {name for name, is_view in found if is_view} == set(views())
    assert {name for name, is_view in found if not is_view} == set(tables())
    assert {table.name for table in WRITE_ORDER} <= set(tables())
