"""``tidegate crawl`` with Kafka and ClickHouse by address."""

from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

import pytest
from support.cli import Ran, run
from support.demo_processes import process
from support.kafka import Broker
from tidegate_cli.stack.parts import simulator_settings

pytestmark = [pytest.mark.embedded]


def test_a_crawl_by_address_gives_the_same_figures_as_an_embedded_one(kafka: Broker, tmp_path: Path) -> None:
    """Topics and tables are made first; the services run here, the data is over there."""
    with (
        process("tidegate_cli.simulator") as simulator,
        process("tidegate_cli.demo_site", "--simulator", simulator, "--pages", "60") as site,
        process("tidegate_cli.clickhouse", "--data", str(tmp_path / "tables")) as clickhouse,
    ):
        with urlopen(f"{site}/urls.txt", timeout=60) as answer:
            (tmp_path / "urls.txt").write_bytes(answer.read())
        options = ("--json", "--allow-private", "--solve", site.removeprefix("http://"))
        solver = simulator_settings(simulator)
        there = {
            "TIDEGATE_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "TIDEGATE_KAFKA__PREFIX": f"cli-{uuid4().hex[:8]}-",
            "TIDEGATE_KAFKA__PARTITIONS": "3",
            "TIDEGATE_CLICKHOUSE__URL": clickhouse,
        }
        by_address = run(tmp_path, "crawl", "urls.txt", *options, env={**solver, **there})
        assert by_address.code == 0, by_address.err
        checked = run(tmp_path, "topics", "apply", "--check", env=there)
        assert checked.code == 0, checked.out
        rows = run(tmp_path, "sql", "--format", "TSV", "SELECT count(), min(id) FROM pages", env=there)
        # What the installation says of itself, now that its services have gone.
        examined = run(tmp_path, "doctor", "--json", env={**solver, **there})
        count, job_id = rows.out.split()
        ended = run(tmp_path, "job", job_id, "--json", env=there)
        late = ("submit", f"{site}/", "--id", "late", "--run", "later")
        submitted = run(tmp_path, *late, env=there)
        waiting = run(tmp_path, "job", "late", "--json", env=there)
        embedded = run(tmp_path, "crawl", "urls.txt", *options, env=solver)
    assert embedded.code == 0, embedded.err
    same = ("submitted", "pages", "dead_letters", "captchas", "solved", "cost", "lost", "duplicates")
    assert {name: by_address.report[name] for name in same} == {name: embedded.report[name] for name in same}
    assert by_address.report["solved"] >= 3
    assert int(count) == by_address.report["pages"]
    assert_examined(examined)
    assert (ended.code, submitted.code, waiting.code) == (0, 0, 0), (ended, submitted, waiting)
    assert (ended.report["state"], ended.report["id"]) == ("page", job_id)
    assert waiting.report["state"] == "waiting", waiting.report
    assert "urls" in waiting.report["where"], waiting.report


def assert_examined(examined: Ran) -> None:
    """Nothing fails on Apache Kafka, its clock was measured, and only the services are missing."""
    findings = {each["check"]: each for each in examined.report["findings"]}
    assert examined.code == 0, findings
    warned = {check for check, each in findings.items() if each["status"] == "warn"}
    assert warned == {"fetcher", "solver", "storer", "user agent"}, findings
    assert {"brokers", "topics", "broker clock", "clickhouse"} <= findings.keys(), findings
