"""The command line's surface: help, usage errors, exit codes, laziness."""

import re
from pathlib import Path

import msgspec
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from support.packaging import read
from tidegate.errors import BrokerError, ClickHouseError, ConfigurationError, TidegateError
from tidegate.records import ChallengeKind
from tidegate.settings import ClickHouseSettings
from tidegate_cli.commands._crawl import checked_hosts, checked_run, choose_broker
from tidegate_cli.commands._sql import format_for
from tidegate_cli.crawl.demo_check import choose
from tidegate_cli.crawl.report import DemoChecks, Report
from tidegate_cli.crawl.session import folder_name, service_env
from tidegate_cli.exits import MEANINGS, Exit, code_of
from tidegate_cli.installation import by_address, find
from tidegate_cli.lag import Position, lags_of
from tidegate_cli.main import app
from tidegate_cli.stack.processes import StackError
from tidegate_cli.warehouse import warehouse
from typer.testing import CliRunner

_COMMANDS = ("demo", "crawl", "up", "submit", "status", "top", "sql", "dlq", "topics", "migrate")
_PARTS = ("kafka", "clickhouse", "simulator")


@pytest.mark.parametrize("command", _COMMANDS + _PARTS)
def test_every_command_explains_itself(command: str) -> None:
    """Help needs no stack and no network."""
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.output


def test_help_lists_every_exit_code() -> None:
    """A script's author finds them where he looks first."""
    text = CliRunner().invoke(app, ["crawl", "--help"]).output
    for code, meaning in MEANINGS.items():
        assert f"{code.value:>3}  {meaning}" in text


def test_the_manual_has_every_exit_code() -> None:
    """Scripts rest on them."""
    text = read("docs/cli.md")
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in text


def test_the_manual_has_every_field_of_the_report() -> None:
    """Those that are optional, too."""
    named = set(re.findall(r"`(\w+)`", read("docs/cli.md")))
    fields = {field.name for kind in (Report, DemoChecks) for field in msgspec.structs.fields(kind)}
    assert fields - {"checks"} <= named


@pytest.mark.parametrize(
    "arguments",
    [["crawl"], ["crawl", "--no-such-option", "x"], ["crawl", "x", "--max-dead-share", "2"], ["sql"]],
)
def test_wrong_usage_ends_with_two(arguments: list[str]) -> None:
    """Nothing was started."""
    assert CliRunner().invoke(app, arguments).exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), Exit.USAGE),
        (StackError("x"), Exit.STACK),
        (BrokerError("x"), Exit.STACK),
        (ClickHouseError(0, "x"), Exit.STACK),
        (TidegateError("x"), Exit.ERROR),
        (ValueError("x"), Exit.ERROR),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: BaseException, code: Exit) -> None:
    """They are part of the contract."""
    assert code_of(error) is code


def test_the_broker_is_the_one_chosen_or_the_environments_or_the_embedded_one() -> None:
    """Two that contradict each other are refused."""
    assert choose_broker(None, None) == "embedded"
    assert choose_broker(None, "k:9092") == "k:9092"
    assert choose_broker("kafka", None) == "kafka"
    with pytest.raises(ConfigurationError, match="leave one out"):
        choose_broker("kafka", "k:9092")
    with pytest.raises(ConfigurationError, match="embedded or kafka"):
        choose_broker("rabbit", None)


def test_names_of_runs_are_checked_and_made_into_folders() -> None:
    """A run's name may be anything printable; a folder's may not leave its place."""
    assert checked_run("Été 2026") == "Été 2026"
    assert folder_name("../../etc/passwd") == "etc-passwd"
    assert folder_name("..") == "run"
    for bad in ("", " ", "x" * 201, "a\nb"):
        with pytest.raises(ConfigurationError):
            checked_run(bad)


def test_hosts_to_solve_on_are_hosts() -> None:
    """A URL in their place would never match, and nothing would be solved."""
    assert checked_hosts(("a.example, b.example:8080", "*")) == ("a.example", "b.example:8080", "*")
    with pytest.raises(ConfigurationError, match="--solve takes a host"):
        checked_hosts(("https://a.example/",))


def test_options_become_settings_of_the_services() -> None:
    """A batch's age that the user set stays his."""
    assert service_env(allow_private=True, solve=("a", "b"), environment={}) == {
        "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
        "TIDEGATE_FETCHER__SOLVE_HOSTS": "a,b",
        "TIDEGATE_STORER__BATCH_AGE_S": "1",
        "TIDEGATE_RUNTIME__DRAIN_DEADLINE_S": "5",
    }
    own = {"TIDEGATE_STORER__BATCH_AGE_S": "3", "TIDEGATE_RUNTIME__DRAIN_DEADLINE_S": "9"}
    assert service_env(allow_private=False, solve=(), environment=own) == {}


@pytest.mark.parametrize(
    ("query", "chosen", "terminal", "expected"),
    [
        ("SELECT 1", None, True, "PrettyCompact"),
        ("SELECT 1", None, False, "TabSeparatedWithNames"),
        (" with x as (select 1) select * from x", "CSV", True, "CSV"),
        ("SELECT 1 FORMAT JSON", "CSV", True, None),
        ("SELECT 1 format JSON settings max_threads = 1", None, True, None),
        ("DROP TABLE x", None, True, None),
        ("SELECT format('{}', 1)", None, False, "TabSeparatedWithNames"),
    ],
)
def test_a_query_is_answered_as_a_table_unless_it_says_otherwise(
    query: str, chosen: str | None, expected: str | None, *, terminal: bool
) -> None:
    """A FORMAT in the query wins; statements that answer nothing are left alone."""
    assert format_for(query, chosen, terminal=terminal) == expected


@pytest.mark.parametrize("command", ["status", "submit", "doctor", "runs"])
def test_the_help_says_that_addresses_in_the_environment_come_before_the_latest_folder(command: str) -> None:
    """As they do."""
    text = " ".join(CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output.split())
    assert "Default: the addresses in the environment, or the latest." in text


def test_topics_are_checked_or_mended_not_both() -> None:
    """``--check`` promises to change nothing."""
    result = CliRunner().invoke(app, ["topics", "apply", "--check", "--mend"])
    assert result.exit_code == Exit.USAGE
    assert "--check" in result.stderr
    assert "--mend" in result.stderr


def test_brokers_that_are_no_addresses_end_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody is asked."""
    monkeypatch.setenv("TIDEGATE_KAFKA__BOOTSTRAP", "a:b")
    result = CliRunner().invoke(app, ["runs"])
    assert result.exit_code == Exit.USAGE
    assert "TIDEGATE_KAFKA__BOOTSTRAP" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://ch.example", "https://ch.example:8443"),
        ("https://ch.example:9443", "https://ch.example:9443"),
        ("http://ch.example:443", "http://ch.example:443"),
    ],
)
async def test_the_password_for_clickhouse_goes_by_the_scheme_of_its_address(
    url: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver alone would send it in clear to any port but 443 and 8443."""
    opened = []

    async def initialize(client: AsyncClient) -> None:
        opened.append(client.uri)

    monkeypatch.setattr(AsyncClient, "_initialize", initialize)
    async with warehouse(ClickHouseSettings(url=url)):
        pass
    assert opened == [asked]


def test_addresses_come_from_the_environment() -> None:
    """Both, either or none."""
    assert by_address({}) == (None, None)
    assert by_address({"TIDEGATE_KAFKA__BOOTSTRAP": "k:1"}) == ("k:1", None)
    found = find(None, {"TIDEGATE_CLICKHOUSE__URL": "http://c:8123"})
    assert (found.settings.clickhouse.url, found.data, found.reachable) == ("http://c:8123", None, True)


def test_a_folder_without_a_running_stack_is_found_but_not_reachable(tmp_path: Path) -> None:
    """Its results can still be read."""
    found = find(tmp_path, {})
    assert (found.data, found.reachable) == (tmp_path, False)
    with pytest.raises(ConfigurationError, match="does not exist"):
        find(tmp_path / "missing", {})


def test_lag_counts_what_is_not_committed_on_the_topics_that_a_group_reads() -> None:
    """A partition without a commit counts whole; a topic that a group never read does not count."""
    positions = {
        ("pages", 0): Position(begin=0, end=10, committed={"storer": 4}),
        ("pages", 1): Position(begin=2, end=5),
        ("urls", 0): Position(begin=0, end=3, committed={"fetcher": 3}),
    }
    pages, urls = lags_of(positions, ["pages", "urls", "solves"])
    assert (pages.records, pages.lags) == (13, {"storer": 9})
    assert (urls.partitions, urls.lags) == (1, {"fetcher": 0})


def test_a_short_demo_still_meets_every_kind_of_challenge() -> None:
    """The order of the site's list is kept."""
    urls = [f"u{n}" for n in range(10)]
    kinds = {"u7": ChallengeKind.HCAPTCHA, "u8": ChallengeKind.TURNSTILE, "u9": ChallengeKind.HCAPTCHA}
    assert choose(urls, kinds, 4) == ["u0", "u1", "u7", "u8"]
    assert choose(urls, kinds, 1) == ["u7"]
    assert choose(urls, kinds, None) == urls
