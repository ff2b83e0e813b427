"""The simulator as a process: what any HTTP client meets."""

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import aiohttp
import pytest
from support.demo_processes import get_json, post_json, process
from tidegate_cli.simulator.__main__ import read_charges

TASK = {"type": "TurnstileTaskProxyless", "websiteURL": "http://site.test/", "websiteKey": "0x4"}
ORDER = {"clientKey": "k", "task": TASK}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulator's data folder."""
    return tmp_path_factory.mktemp("simulator")


@pytest.fixture(scope="module")
def base(folder: Path) -> Iterator[str]:
    """A running simulator's URL."""
    with process("tidegate_cli.simulator", "--latency-ms", "50", "--seed", "7", "--data", str(folder)) as url:
        yield url


@pytest.fixture(autouse=True)
def good_behaviour(base: str) -> Iterator[None]:
    """Every test leaves well-behaved vendors behind."""
    yield
    post_json(f"{base}/control/behaviour", {"vendor": "*"})


def _verify(base: str, token: str, host: str = "site.test") -> dict[str, object]:
    body = f"secret=s&response={token}&sitekey=0x4&host={host}".encode()
    with urlopen(f"{base}/siteverify", body, timeout=60) as response:
        verdict: dict[str, object] = json.load(response)
    return verdict


def _ready(base: str, task_id: int) -> dict[str, str]:
    for _ in range(100):
        reply = post_json(f"{base}/2captcha/getTaskResult", {"clientKey": "k", "taskId": task_id})
        if reply["status"] == "ready":
            solution: dict[str, str] = reply["solution"]
            return solution
        time.sleep(0.01)
    raise AssertionError("never ready")


def test_it_answers_pings_on_loopback(base: str) -> None:
    """The line on standard output names the port that answers."""
    assert get_json(f"{base}/ping") == {"ok": True}


def test_a_task_is_sold_charged_logged_and_verified_once(base: str, folder: Path) -> None:
    """From createTask to siteverify; the charge is in the reply and in the file."""
    before = get_json(f"{base}/control/charges")["total"]
    created = post_json(f"{base}/2captcha/createTask", ORDER)
    token = _ready(base, created["taskId"])["token"]
    assert _verify(base, token, "other.test")["success"] is False
    assert _verify(base, token)["success"] is True
    assert _verify(base, token) == {"success": False, "error-codes": ["timeout-or-duplicate"]}
    (row,) = get_json(f"{base}/control/charges?after={before}")["charges"]
    assert (row["task_id"], row["kind"]) == (str(created["taskId"]), "turnstile")
    assert read_charges(folder / "charges.jsonl")[-1].order == row["order"]


@pytest.mark.parametrize("how", ["query", "form", "multipart"])
async def test_in_php_takes_its_fields_however_they_come(base: str, how: str) -> None:
    """Query, form and multipart mean the same."""
    fields = {"key": "k", "method": "hcaptcha", "sitekey": "s", "pageurl": "http://site.test/", "json": "1"}
    url = f"{base}/2captcha-legacy/in.php"
    async with aiohttp.ClientSession() as session:
        if how == "query":
            request = session.get(url, params=fields)
        elif how == "form":
            request = session.post(url, data=fields)
        else:
            parts = aiohttp.FormData(default_to_multipart=True)
            for name, value in fields.items():
                parts.add_field(name, value)
            request = session.post(url, data=parts)
        async with request as response:
            assert (await response.json())["status"] == 1


def test_a_dropped_connection_is_reset_without_an_answer(base: str) -> None:
    """The client sees a reset, not an orderly end."""
    post_json(f"{base}/control/behaviour", {"vendor": "2captcha", "drop": 1})
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected, URLError)):
        post_json(f"{base}/2captcha/createTask", ORDER)
    assert post_json(f"{base}/capmonster/getBalance", {"clientKey": "k"})["errorId"] == 0


def test_server_errors_are_pages_not_json(base: str) -> None:
    """A 5xx comes as the HTML of a proxy in front."""
    post_json(
        f"{base}/control/behaviour", {"vendor": "2captcha", "server_error": 1, "server_error_status": 502}
    )
    with pytest.raises(HTTPError) as error:
        post_json(f"{base}/2captcha/createTask", ORDER)
    with error.value:
        assert error.value.code == 502
        assert b"<h1>502 Bad Gateway</h1>" in error.value.read()


def _refuses(base: str) -> bool:
    try:
        assert get_json(f"{base}/ping") == {"ok": True}
    except URLError as error:
        if "refused" not in str(error):
            raise
        return True
    return False


def _until(refused: bool, base: str) -> None:
    for _ in range(1_000):
        if _refuses(base) is refused:
            return
        time.sleep(0.02)
    raise AssertionError(f"refused is never {refused}")


def test_an_outage_refuses_connections_and_ends(base: str) -> None:
    """The port is closed for as long as it was told to be, then it is the same port again."""
    # Long enough for a busy machine to look once while it lasts.
    post_json(f"{base}/control/outage", {"seconds": 2.0})
    _until(refused=True, base=base)
    _until(refused=False, base=base)


async def test_thousands_of_tasks_are_in_flight_at_once(base: str) -> None:
    """Two thousand tasks are created, are in flight together, and each answers its polls."""
    post_json(f"{base}/control/behaviour", {"vendor": "2captcha", "latency_ms": 300_000})
    connector = aiohttp.TCPConnector(limit=50)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post(path: str, body: Mapping[str, object]) -> dict[str, object]:
            async with session.post(f"{base}/2captcha/{path}", json=body) as response:
                reply: dict[str, object] = await response.json()
            return reply

        created = await asyncio.gather(*(post("createTask", ORDER) for _ in range(2_000)))
        results = await asyncio.gather(
            *(post("getTaskResult", {"clientKey": "k", "taskId": reply["taskId"]}) for reply in created[::10])
        )
    assert get_json(f"{base}/control/stats")["vendors"]["2captcha"]["in_flight"] >= 2_000
    assert {reply["status"] for reply in results} == {"processing"}
    assert len({reply["taskId"] for reply in created}) == 2_000


def test_charges_survive_a_kill_and_a_last_line_cut_short(tmp_path: Path) -> None:
    """A restarted simulator counts on from its file."""
    arguments = ("--data", str(tmp_path))
    command = [sys.executable, "-m", "tidegate_cli.simulator", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        url = f"http://127.0.0.1:{json.loads(running.stdout.readline())['port']}"
        post_json(f"{url}/2captcha/createTask", ORDER)
        running.send_signal(signal.SIGKILL)
    with (tmp_path / "charges.jsonl").open("ab") as file:
        file.write(b'{"order": 2, "task')
    with process("tidegate_cli.simulator", *arguments) as url:
        post_json(f"{url}/2captcha/createTask", ORDER)
        assert [row["order"] for row in get_json(f"{url}/control/charges")["charges"]] == [1, 2]
