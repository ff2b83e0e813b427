"""``tidegate dlq`` against the embedded stack: jobs die, the cause is mended, they are replayed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support.campaign import settled, views
from support.cli import Ran, run
from support.dlq import PAGE, SECRET, install_parser, mendable_site
from support.kafka import ignore
from tidegate.records import body_hash
from tidegate.topics import Topic
from tidegate_cli.dlq.advice import advice_for
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.stack import Stack, running_stack

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]

RUN = "shop"
_DEADLINE_S = 15
ENV = {
    "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
    "TIDEGATE_FETCHER__ROBOTS": "ignore",
    "TIDEGATE_STORER__BATCH_AGE_S": "0.3",
    "TIDEGATE_RUNTIME__DRAIN_DEADLINE_S": "3",
}


class Commands:
    """Runs commands about one stack, beside it."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        self._folder = folder
        self._data = str(stack.data_dir)
        self.output = ""

    async def run(self, *arguments: str, stdin: bytes | None = None, code: int = 0) -> Ran:
        """Run ``tidegate …`` and keep what it printed."""
        ran = await asyncio.to_thread(
            run, self._folder, *arguments, "--data", self._data, stdin=stdin, env={"COLUMNS": "150"}
        )
        assert ran.code == code, (ran.out, ran.err)
        self.output += f"$ tidegate {' '.join(arguments)}\n{ran.out}{ran.err}\n"
        return ran

    async def dlq(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """Run ``tidegate dlq … --format json``; return the objects."""
        ran = await self.run("dlq", *arguments, "--format", "json", code=code)
        return [json.loads(line) for line in ran.out.splitlines()]


async def _replayed(stack: Stack, ids: set[str]) -> dict[str, dict[str, Any]]:
    """Wait until these jobs have pages; return those."""
    client = views(stack)
    columns = ("id", "title", "status", "body_hash", "hop", "attempts", "headers", "accepted_at")
    query = f"SELECT {', '.join(columns)} FROM pages WHERE run = '{RUN}'"
    rows: dict[str, dict[str, Any]] = {}
    for _ in range(240):
        found = await asyncio.to_thread(client.query, query)
        rows = {row[0]: dict(zip(columns, row, strict=True)) for row in found.result_rows}
        if ids <= rows.keys():
            break
        await asyncio.sleep(0.5)  # noqa: TID251 -- real processes, real time
    assert ids <= rows.keys()
    return rows


async def test_mended_jobs_are_replayed_to_pages_with_their_secrets_and_without_showing_them(  # noqa: PLR0915 -- one story
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page takes the dead letter's place, once (O1, O6, O7); a kept body is parsed without a fetch."""
    broken = tmp_path / "broken"
    broken.touch()
    install_parser(tmp_path / "plugins", broken)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugins"))
    options = StackOptions(
        data_dir=tmp_path / "data",
        services=(("fetcher", 1), ("storer", 1)),
        env=ENV,
        partitions=3,
        prefix="dlq-",
    )
    async with mendable_site() as site, running_stack(options, ignore) as stack:
        commands = Commands(tmp_path, stack)
        site.broken = {"/down", "/late"}
        job = {"run": RUN, "headers": {"Authorization": SECRET}, "max_retries": 0}
        jobs = [
            {**job, "id": "down", "url": f"{site.url}/down?token=t0ken"},
            {**job, "id": "late", "url": f"{site.url}/late", "deadline": _DEADLINE_S},
            {**job, "id": "parse", "url": f"{site.url}/parse", "parser": "shop"},
            {**job, "id": "scheme", "url": "ftp://a.example/x"},
        ]
        text = "\n".join(json.dumps(each) for each in jobs).encode()
        await commands.run("submit", "-", stdin=text)
        client = views(stack)
        await settled(client, RUN, len(jobs), within_s=120)

        counts = {row["reason"]: row["count"] for row in await commands.dlq("ls", "--summary")}
        assert counts == {"retries_exhausted": 2, "parse_error": 1, "scheme_not_allowed": 1}
        down, late = sorted(await commands.dlq("ls", "--class", "server_error"), key=lambda row: row["id"])
        assert (down["id"], down["last_status"], late["id"]) == ("down", 503, "late")
        (shown,) = await commands.dlq("show", RUN, "down")
        assert (shown["hop"], shown["attempts"], shown["origin_topic"]) == (0, {}, "urls")
        assert "[removed]" in shown["original"]
        assert shown["advice"] == advice_for("retries_exhausted").text
        assert shown["accepted_at"].endswith("Z")
        for arguments in (("ls",), ("ls", "--summary"), ("show", RUN, "down"), ("show", RUN, "parse")):
            await commands.run("dlq", *arguments)

        dry = await commands.dlq("replay", "--run", RUN, "--dry-run")
        assert {row["id"]: row["action"] for row in dry[:-1]} == {
            "down": "fetch",
            "late": "fetch",
            "parse": "parse",
            "scheme": "fetch",
        }
        await commands.run("dlq", "replay", "--dry-run")
        assert "--all" in (await commands.run("dlq", "replay", code=2)).err
        assert site.asked == {"/down": 1, "/late": 1, "/parse": 1}

        site.broken = set()
        broken.unlink()
        # The deadline of one has passed by now; a replay has its own.
        age_s = "SELECT dateDiff('second', accepted_at, now()) FROM dead_letters WHERE id = 'late'"
        for _ in range(60):
            if (await asyncio.to_thread(client.query, age_s)).result_rows[0][0] > _DEADLINE_S:
                break
            await asyncio.sleep(0.5)  # noqa: TID251 -- real processes, real time
        replay = ("replay", "--run", RUN, "--reason", "retries_exhausted,parse_error", "--rate", "20")
        *_, tally = await commands.dlq(*replay)
        assert (tally["matched"], tally["replayed"], tally["parse"]) == (3, 3, 1)
        pages = await _replayed(stack, {"down", "late", "parse"})
        assert [row["id"] for row in await commands.dlq("ls")] == ["scheme"]
        served = {path: PAGE.format(path=path).encode("latin-1") for path in ("/down", "/late", "/parse")}
        for path, body in served.items():
            page = pages[path[1:]]
            assert (page["status"], page["body_hash"], page["hop"]) == (200, body_hash(body), 1)
        # The secret went with the replay: without it the site answers 401.
        assert pages["down"]["title"] == "Café /down"
        # Parsed by the mended parser, from the body as it was first served and what was known of it.
        assert site.asked == {"/down": 2, "/late": 2, "/parse": 1}
        assert pages["parse"]["title"] == "by shop: text/html; charset=iso-8859-1"
        assert pages["parse"]["headers"]["Content-Type"] == "text/html; charset=iso-8859-1"

        again = await commands.run("dlq", "replay", "--run", RUN, "--id", "down")
        assert again.out == "No dead letter matches.\n"
        assert "has a page" in (await commands.run("dlq", "show", RUN, "down", code=6)).err

        # A row whose record the broker keeps no longer, among others that can be replayed.
        row = "(SELECT * FROM dead_letters_log WHERE id = 'scheme')"
        gone = f"SELECT * REPLACE ('gone' AS id, 99999 AS record_offset) FROM {row}"
        copy = f"INSERT INTO dead_letters_log {gone}"
        await asyncio.to_thread(client.command, copy)
        partly = await commands.run("dlq", "replay", "--reason", "scheme_not_allowed", code=3)
        assert "not replayed (gone)" in partly.out
        assert "2 matched: 1 replayed; 1 cannot be (gone 1)." in partly.out
        await _dead_again(commands)
        one = await asyncio.to_thread(
            client.query, f"SELECT count(), uniqExact(id) FROM jobs WHERE run = '{RUN}'"
        )
        assert one.result_rows == [(5, 5)]
        assert client.query("SELECT count() FROM pages").result_rows == [(3,)]

        print(commands.output)  # noqa: T201 -- shown where the test fails
        for secret in (SECRET, SECRET.split()[1], "t0ken"):
            assert secret not in commands.output
        client.close()
    stopped = await asyncio.to_thread(run, tmp_path, "dlq", "ls", "--data", str(tmp_path / "data"))
    assert (stopped.code, "2 dead letters." in stopped.out) == (0, True)
    no_stack = ("dlq", "replay", "--all", "--data", str(tmp_path / "data"))
    refused = await asyncio.to_thread(run, tmp_path, *no_stack)
    assert (refused.code, "No stack is running" in refused.err) == (2, True)


async def _dead_again(commands: Commands) -> None:
    """Wait until the job that cannot succeed has its new dead letter, of one hop more."""
    for _ in range(20):
        (row,) = await commands.dlq("ls", "--id", "scheme")
        if row["hop"] == 1:
            return
    pytest.fail(f"no new dead letter on {Topic.DEAD_LETTER}")
