"""What the simulator says on the wire: each vendor's envelope, ids, spellings and error shapes."""

import json
from base64 import b64encode
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pytest
from tidegate.records import ChallengeKind
from tidegate_cli.simulator.answers import Answer, Asked
from tidegate_cli.simulator.charges import Accounts, ChargeLog
from tidegate_cli.simulator.desk import Desk
from tidegate_cli.simulator.service import SolvingService
from tidegate_cli.simulator.vendors import HOSTS, VENDORS, Family

JSON_VENDORS = [name for name, vendor in VENDORS.items() if vendor.family is Family.CREATE_TASK]
SITE = {"websiteURL": "http://site.test:8080/page", "websiteKey": "key"}
V2 = {
    "ucaptcha": "RecaptchaV2TaskProxyless",
    "capsolver": "ReCaptchaV2TaskProxyLess",
    "2captcha": "RecaptchaV2TaskProxyless",
    "anticaptcha": "RecaptchaV2TaskProxyless",
    "capmonster": "RecaptchaV2Task",
}


@pytest.fixture
def desk() -> Desk:
    """A desk over a fresh service."""
    accounts = Accounts(10_000_000)
    return Desk(SolvingService(random=Random(7), charges=ChargeLog(), accounts=accounts, latency_ms=1_000.0))


def _whole(kind: ChallengeKind) -> dict[str, Any]:
    """Return all that any vendor wants of an order of that kind, beside type, URL and site key."""
    proxy = {"proxyType": "http", "proxyAddress": "1.2.3.4", "proxyPort": 8080}
    image = b64encode(b"GIF89a tidegate-text:W68HP").decode()
    found: dict[ChallengeKind, dict[str, Any]] = {
        ChallengeKind.RECAPTCHA_V3_ENTERPRISE: {"isEnterprise": True},
        ChallengeKind.CLOUDFLARE_CHALLENGE: {"cloudflareTaskType": "cf_clearance", **proxy},
        ChallengeKind.GEETEST_V3: {"gt": "g", "challenge": "c" * 32},
        ChallengeKind.GEETEST_V4: {"version": 4, "captchaId": "an-id"},
        ChallengeKind.FUNCAPTCHA: {"websitePublicKey": "pk"},
        ChallengeKind.DATADOME: {"captchaUrl": "https://geo.test/", "userAgent": "U", **proxy},
        ChallengeKind.IMAGE: {"body": image},
    }
    return found.get(kind, {})


def _call(desk: Desk, path: str, value: Any, now: float = 0.0) -> tuple[int, Any]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    answer = desk.answer(Asked(method="POST", path=path, fields={}, body=body), now)
    return answer.status, json.loads(answer.body)


def _form(desk: Desk, url: str, now: float = 0.0, method: str = "GET") -> Answer:
    parts = urlsplit(url)
    return desk.answer(Asked(method=method, path=parts.path, fields=dict(parse_qsl(parts.query))), now)


def _create(desk: Desk, vendor: str, task_type: str, **more: Any) -> tuple[int, Any]:
    return _call(
        desk, f"/{vendor}/createTask", {"clientKey": "k", "task": {"type": task_type, **SITE, **more}}
    )


def _result(desk: Desk, vendor: str, task_id: Any, now: float) -> tuple[int, Any]:
    return _call(desk, f"/{vendor}/getTaskResult", {"clientKey": "k", "taskId": task_id}, now)


class TestCreateTask:
    @pytest.mark.parametrize("vendor", JSON_VENDORS)
    def test_a_task_is_created_polled_and_answered(self, desk: Desk, vendor: str) -> None:
        """Every vendor of the family goes from taskId over processing to ready."""
        status, reply = _create(desk, vendor, V2[vendor])
        assert (status, reply["errorId"]) == (200, 0)
        assert _result(desk, vendor, reply["taskId"], 0.1)[1]["status"] == "processing"
        status, ready = _result(desk, vendor, reply["taskId"], 5.0)
        assert (status, ready["errorId"], ready["status"]) == (200, 0, "ready")
        assert ready["solution"]["gRecaptchaResponse"].startswith("03A")

    @pytest.mark.parametrize("vendor", JSON_VENDORS)
    def test_every_task_type_of_a_vendor_is_taken(self, desk: Desk, vendor: str) -> None:
        """The table of types is the vendor's, and each kind of each of them leads to a solution."""
        row = VENDORS[vendor]
        for task_type, kinds in row.types.items():
            for kind in kinds:
                _, reply = _create(desk, vendor, task_type, **_whole(kind))
                ready = reply
                if kind not in row.at_once:
                    _, ready = _result(desk, vendor, reply["taskId"], 5.0)
                names = {name.partition("=")[0] for name in row.solution[kind]}
                assert set(ready["solution"]) == names, (task_type, kind)
                assert all(ready["solution"].values())

    @pytest.mark.parametrize("vendor", JSON_VENDORS)
    def test_an_order_without_what_its_kind_needs_is_refused(self, desk: Desk, vendor: str) -> None:
        """GeeTest 3 needs its challenge, DataDome its proxy, an image its bytes."""
        row = VENDORS[vendor]
        types = {kind: name for name, kinds in row.types.items() for kind in kinds}
        for kind, left_out in (
            (ChallengeKind.GEETEST_V3, "challenge"),
            (ChallengeKind.DATADOME, "proxyAddress"),
            (ChallengeKind.IMAGE, "body"),
        ):
            if kind in types:
                whole = _whole(kind)
                del whole[left_out]
                _, reply = _create(desk, vendor, types[kind], **whole)
                assert reply["errorId"] != 0, kind

    def test_an_answer_has_its_kinds_shape(self, desk: Desk) -> None:
        """GeeTest in parts, a clearance as a cookie, an image's text as it is shown."""
        found = {}
        for kind, name in (
            (ChallengeKind.GEETEST_V3, "GeeTestTaskProxyLess"),
            (ChallengeKind.GEETEST_V4, "GeeTestTaskProxyLess"),
            (ChallengeKind.CLOUDFLARE_CHALLENGE, "AntiCloudflareTask"),
            (ChallengeKind.DATADOME, "DatadomeSliderTask"),
            (ChallengeKind.IMAGE, "ImageToTextTask"),
        ):
            _, reply = _create(desk, "capsolver", name, **_whole(kind))
            _, reply = (0, reply) if "solution" in reply else _result(desk, "capsolver", reply["taskId"], 5.0)
            found[kind.value] = reply["solution"]
        assert found["geetest_v3"]["challenge"] == "c" * 32
        assert found["geetest_v3"]["seccode"] == found["geetest_v3"]["validate"] + "|jordan"
        assert found["geetest_v4"]["captcha_id"] == "an-id"
        assert found["cloudflare_challenge"]["cookies"].startswith("cf_clearance=cf.")
        assert found["datadome"]["cookie"].startswith("datadome=dd~")
        assert found["image"]["text"] == "W68HP"

    def test_vendors_are_known_by_their_hosts_too(self, desk: Desk) -> None:
        """A client whose name server was redirected finds each vendor at its own paths."""
        body = json.dumps({"clientKey": "k"}).encode()
        for host, vendor in HOSTS.items():
            path, fields = "/getBalance", {}
            if vendor.family is Family.IN_PHP:
                path, fields = "/res.php", {"key": "k", "action": "getbalance"}
            asked = Asked(method="POST", path=path, fields=fields, body=body, host=f"{host}:8080")
            assert b"10" in desk.answer(asked, 0.0).body, host

    def test_ids_are_uuids_or_numbers(self, desk: Desk) -> None:
        """CapSolver's ids are UUIDs, 2Captcha's are numbers; the other form is not an id of theirs."""
        _, capsolver = _create(desk, "capsolver", V2["capsolver"])
        assert UUID(capsolver["taskId"]).version == 4
        _, twocaptcha = _create(desk, "2captcha", V2["2captcha"])
        assert isinstance(twocaptcha["taskId"], int)
        assert _result(desk, "2captcha", str(twocaptcha["taskId"]), 5.0)[1]["errorId"] == 16

    @pytest.mark.parametrize(
        ("vendor", "wrong"),
        [
            ("capsolver", "RecaptchaV2TaskProxyless"),
            ("2captcha", "ReCaptchaV2TaskProxyLess"),
            ("capmonster", "TurnstileTaskProxyless"),
            ("anticaptcha", "AntiTurnstileTaskProxyLess"),
        ],
    )
    def test_another_vendors_spelling_is_not_supported(self, desk: Desk, vendor: str, wrong: str) -> None:
        """Spellings differ by one letter's case, and that letter matters."""
        assert _create(desk, vendor, wrong)[1]["errorCode"] == "ERROR_TASK_NOT_SUPPORTED"

    def test_errors_have_each_vendors_shape(self, desk: Desk) -> None:
        """Numbered ids, or always 1; HTTP 401 at CapSolver; taskId 0 at CapMonster; no code at uCaptcha."""
        bad = {"clientKey": "", "task": {"type": "x", **SITE}}
        assert _call(desk, "/2captcha/createTask", bad)[1]["errorId"] == 1
        status, reply = _call(desk, "/capsolver/createTask", bad)
        assert (status, reply["errorId"], reply["errorCode"]) == (401, 1, "ERROR_KEY_DENIED_ACCESS")
        assert _call(desk, "/capmonster/createTask", bad)[1]["taskId"] == 0
        status, reply = _create(desk, "anticaptcha", "Nonsense")
        assert (status, reply["errorId"], reply["errorCode"]) == (200, 23, "ERROR_TASK_NOT_SUPPORTED")
        assert set(_create(desk, "ucaptcha", "Nonsense")[1]) == {"errorId", "errorDescription"}

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b'{"clientKey": 5}', b"\xff\xfe", b'{"clientKey":"k","task":7}']
    )
    def test_garbage_is_refused_in_the_vendors_shape(self, desk: Desk, body: bytes) -> None:
        """What is not a request gets an error reply, not a crash."""
        for vendor in JSON_VENDORS:
            assert _call(desk, f"/{vendor}/createTask", body)[1]["errorId"] > 0

    @pytest.mark.parametrize("url", ["", "site.test", "ftp://site.test/", "http://[bad/", None, 7])
    def test_a_task_needs_a_url(self, desk: Desk, url: Any) -> None:
        """A websiteURL that is no http(s) URL is refused."""
        assert _create(desk, "2captcha", V2["2captcha"], websiteURL=url)[1]["errorId"] == 32

    def test_costs_are_told_as_each_vendor_tells_them(self, desk: Desk) -> None:
        """2Captcha and Anti-Captcha as text, CapMonster as a number, CapSolver and uCaptcha not at all."""
        costs = {}
        for vendor in JSON_VENDORS:
            _, reply = _create(desk, vendor, V2[vendor])
            costs[vendor] = _result(desk, vendor, reply["taskId"], 5.0)[1].get("cost")
        assert costs == {
            "ucaptcha": None,
            "capsolver": None,
            "2captcha": "0.00299",
            "anticaptcha": "0.00200",
            "capmonster": 0.0006,
        }

    def test_the_balance_falls_by_the_price(self, desk: Desk) -> None:
        """GetBalance is a number in dollars."""
        _create(desk, "capsolver", V2["capsolver"])
        reply = _call(desk, "/capsolver/getBalance", {"clientKey": "k"})[1]
        assert reply == {"errorId": 0, "balance": 9.9992, "packages": []}

    @pytest.mark.parametrize(
        ("vendor", "path", "more"),
        [
            ("2captcha", "reportIncorrect", {}),
            ("anticaptcha", "reportIncorrectHcaptcha", {}),
            ("capmonster", "reportIncorrectTokenCaptcha", {}),
            ("capsolver", "feedbackTask", {"result": {"invalid": True}}),
        ],
    )
    def test_reports_are_taken_where_the_vendor_takes_them(
        self, desk: Desk, vendor: str, path: str, more: dict[str, Any]
    ) -> None:
        """A report of a bad token is counted against the task."""
        _, reply = _create(desk, vendor, V2[vendor])
        report = {"clientKey": "k", "taskId": reply["taskId"], **more}
        assert _call(desk, f"/{vendor}/{path}", report)[1]["errorId"] == 0
        (task,) = json.loads(_form(desk, "/control/tasks").body)["tasks"]
        assert task["report"] == "bad"

    def test_an_unknown_method_is_refused(self, desk: Desk) -> None:
        """A path that the vendor does not have gets its error reply."""
        assert _call(desk, "/2captcha/solveNow", {})[1]["errorCode"] == "ERROR_NO_SUCH_METHOD"


class TestInPhp:
    CREATE = "/2captcha-legacy/in.php?key=k&method=turnstile&sitekey=s&pageurl=http://site.test/"

    def test_text_replies(self, desk: Desk) -> None:
        """OK and a bar, or a bare code; CAPCHA without a T."""
        ok, number = _form(desk, self.CREATE, method="POST").body.decode().split("|")
        assert (ok, number.isdigit()) == ("OK", True)
        poll = f"/2captcha-legacy/res.php?key=k&action=get&id={number}"
        assert _form(desk, poll, 0.1).body == b"CAPCHA_NOT_READY"
        assert _form(desk, poll, 5.0).body.startswith(b"OK|0.")
        assert _form(desk, poll.replace("get&", "get2&"), 5.0).body.endswith(b"|0.00145")
        assert _form(desk, poll.replace(number, "1"), 5.0).body == b"ERROR_WRONG_CAPTCHA_ID"
        assert _form(desk, "/2captcha-legacy/res.php?key=k&action=getbalance").body == b"9.99855"

    def test_json_replies(self, desk: Desk) -> None:
        """With json=1 the same comes as status and request."""
        reply = json.loads(_form(desk, self.CREATE + "&json=1").body)
        assert reply["status"] == 1
        poll = f"/2captcha-legacy/res.php?key=k&action=get&json=1&id={reply['request']}"
        assert json.loads(_form(desk, poll, 0.1).body) == {"status": 0, "request": "CAPCHA_NOT_READY"}
        ready = json.loads(_form(desk, poll.replace("get&", "get2&"), 5.0).body)
        assert (ready["status"], ready["price"]) == (1, "0.00145")

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (("key=k&", "key=&"), "ERROR_KEY_DOES_NOT_EXIST"),
            (("method=turnstile", "method=magic"), "ERROR_BAD_PARAMETERS"),
            (("pageurl=http://site.test/", "pageurl="), "ERROR_PAGEURL"),
            (("sitekey=s", "sitekey="), "ERROR_SITEKEY"),
        ],
    )
    def test_errors_are_bare_codes(self, desk: Desk, change: tuple[str, str], code: str) -> None:
        """What is wrong with a request is said by one code."""
        assert _form(desk, self.CREATE.replace(*change)).body.decode() == code

    def test_captchaai_tells_its_threads(self, desk: Desk) -> None:
        """A task in flight is a working thread."""
        _form(desk, self.CREATE.replace("2captcha-legacy", "captchaai"))
        reply = json.loads(_form(desk, "/captchaai/res.php?key=k&action=threadsinfo").body)
        assert (reply["threads"], reply["working_threads"]) == ("1000", "1")

    def test_reports_are_recorded(self, desk: Desk) -> None:
        """Reportgood and reportbad answer that they were recorded."""
        number = _form(desk, self.CREATE).body.decode().split("|")[1]
        assert (
            _form(desk, f"/2captcha-legacy/res.php?key=k&action=reportbad&id={number}").body
            == b"OK_REPORT_RECORDED"
        )
        assert _form(desk, "/2captcha-legacy/res.php?key=k&action=dance").body == b"ERROR_EMPTY_ACTION"


class TestSiteVerify:
    def _verify(self, desk: Desk, fields: dict[str, str]) -> Any:
        return json.loads(desk.answer(Asked(method="POST", path="/siteverify", fields=fields), 5.0).body)

    def test_a_sold_token_is_verified_once(self, desk: Desk) -> None:
        """Action and cdata that were ordered come back; a port of the host does not matter."""
        _, reply = _create(
            desk, "capsolver", "AntiTurnstileTaskProxyLess", metadata={"action": "view", "cdata": "c"}
        )
        token = _result(desk, "capsolver", reply["taskId"], 5.0)[1]["solution"]["token"]
        asked = {"secret": "s", "response": token, "sitekey": "key", "host": "site.test:99"}
        verdict = self._verify(desk, asked)
        assert verdict["success"] is True
        assert (verdict["hostname"], verdict["action"], verdict["cdata"]) == ("site.test", "view", "c")
        again = self._verify(desk, asked)
        assert again == {"success": False, "error-codes": ["timeout-or-duplicate"]}

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"response": "x"}, "missing-input-secret"),
            ({"secret": "s"}, "missing-input-response"),
            ({"secret": "s", "response": "x"}, "invalid-input-response"),
        ],
    )
    def test_what_is_missing_is_said(self, desk: Desk, fields: dict[str, str], code: str) -> None:
        """The error codes are the vendors'."""
        assert self._verify(desk, fields)["error-codes"] == [code]


class TestControl:
    def _behave(self, desk: Desk, value: Any) -> tuple[int, Any]:
        return _call(desk, "/control/behaviour", value)

    def test_the_wire_goes_wrong_as_told(self, desk: Desk) -> None:
        """HTML, half a JSON, a 5xx, a delay, a reset connection: each at one vendor, the others are well."""
        asked = Asked(method="POST", path="/2captcha/getBalance", fields={}, body=b'{"clientKey":"k"}')
        self._behave(desk, {"vendor": "2captcha", "html": 1})
        html = desk.answer(asked, 0.0)
        assert html.content_type.startswith("text/html")
        self._behave(desk, {"vendor": "2captcha", "truncated": 1})
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            json.loads(desk.answer(asked, 0.0).body)
        self._behave(
            desk, {"vendor": "2captcha", "server_error": 1, "server_error_status": 503, "slow_ms": 250}
        )
        broken = desk.answer(asked, 0.0)
        assert (broken.status, broken.delay_s) == (503, 0.25)
        self._behave(desk, {"vendor": "2captcha", "drop": 1})
        assert desk.answer(asked, 0.0).drop
        assert _create(desk, "capsolver", V2["capsolver"])[1]["errorId"] == 0
        self._behave(desk, {"vendor": "*"})
        assert desk.answer(asked, 0.0).status == 200

    def test_a_lost_answer_was_paid_for_and_a_dropped_request_was_not(self, desk: Desk) -> None:
        """Lost means that the task exists although nobody heard of it: the window of M3."""
        task = json.dumps({"clientKey": "k", "task": {"type": V2["2captcha"], **SITE}}).encode()
        asked = Asked(method="POST", path="/2captcha/createTask", fields={}, body=task)
        for fault, charges in (("drop", 0), ("lost", 1)):
            self._behave(desk, {fault: 1})
            assert desk.answer(asked, 0.0).drop
            assert json.loads(_form(desk, "/control/charges").body)["total"] == charges

    @pytest.mark.parametrize(
        "value", [{"vendor": "nobody"}, {"vendor": 5}, {"dorp": 1}, {"drop": 2}, [], b"{"]
    )
    def test_a_behaviour_that_makes_no_sense_is_refused(self, desk: Desk, value: Any) -> None:
        """A misspelt fault must not pass in silence."""
        assert self._behave(desk, value)[0] == 400

    def test_charges_are_paged_and_summed(self, desk: Desk) -> None:
        """Each charge names what it was for; cost is in dollars, and exact in micro-dollars."""
        for _ in range(3):
            _create(desk, "2captcha", V2["2captcha"])
        reply = json.loads(_form(desk, "/control/charges?after=1&limit=1").body)
        assert (reply["total"], reply["cost_micros"]) == (3, 8_970)
        (row,) = reply["charges"]
        assert (row["order"], row["url"], row["cost"]) == (2, SITE["websiteURL"], 0.00299)
        assert _form(desk, "/control/charges?after=x").status == 400

    def test_a_configured_key_is_the_only_good_one(self, desk: Desk) -> None:
        """Keys are set with their balance in dollars."""
        assert _call(desk, "/control/keys", {"key": "mine", "balance": 0.5})[0] == 200
        assert _create(desk, "2captcha", V2["2captcha"])[1]["errorCode"] == "ERROR_KEY_DOES_NOT_EXIST"
        assert _call(desk, "/2captcha/getBalance", {"clientKey": "mine"})[1]["balance"] == 0.5

    def test_figures_are_told_by_vendor(self, desk: Desk) -> None:
        """What happened can be read back, polls and verifications included."""
        _, reply = _create(desk, "2captcha", V2["2captcha"])
        _result(desk, "2captcha", reply["taskId"], 0.1)
        stats = json.loads(_form(desk, "/control/stats", 0.2).body)
        row = stats["vendors"]["2captcha"]
        assert (row["created"], row["polls"], row["early_polls"], row["in_flight"]) == (1, 1, 1, 1)

    def test_unknown_paths_say_what_there_is(self, desk: Desk) -> None:
        """A 404 names the calls, or the vendors."""
        assert "POST /control/behaviour" in _form(desk, "/control/nothing").body.decode()
        assert "capsolver" in _form(desk, "/nobody/createTask").body.decode()
