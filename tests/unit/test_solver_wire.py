"""What is asked of solving services, and what their replies prove."""

from typing import Any

import msgspec
import pytest
from support.solver import KEY, a_request, challenge, profile
from tidegate.captcha_records import Challenge
from tidegate.challenge_kinds import FACTS
from tidegate.records import ChallengeKind
from tidegate_cli.simulator.orders import read_order
from tidegate_cli.simulator.tasks import Order
from tidegate_cli.simulator.vendors import VENDORS
from tidegate_solver import wire
from tidegate_solver.catalog import load_profiles
from tidegate_solver.createtask import CreateTask
from tidegate_solver.inphp import InPhp
from tidegate_solver.profiles import ErrorKind, Family, Profile

V2 = ChallengeKind.RECAPTCHA_V2
CLEARANCE = ChallengeKind.CLOUDFLARE_CHALLENGE
IN_PHP = "2captcha-legacy"
SHIPPED = load_profiles()


def family(chosen: Profile) -> wire.Family:
    """Return the wire of a profile with the tests' key."""
    return CreateTask(chosen, KEY) if chosen.family is Family.CREATE_TASK else InPhp(chosen, KEY)


def read_create(status: int, body: bytes, name: str = "capmonster") -> wire.CreateReply:
    """Read a reply to createTask for reCAPTCHA v2."""
    chosen = profile(name)
    return family(chosen).read_create(chosen.kinds[V2], status, body)


def read_result(status: int, body: bytes, name: str = "capmonster") -> wire.ResultReply:
    """Read a reply to getTaskResult for reCAPTCHA v2."""
    chosen = profile(name)
    return family(chosen).read_result(chosen.kinds[V2], status, body)


def created(chosen: Profile, found: Challenge, proxy: wire.Proxy | None = None) -> dict[str, Any]:
    """Return what is sent to make a task: the body of createTask, or the form of in.php."""
    request = msgspec.structs.replace(a_request(), challenge=found)
    call = family(chosen).create(chosen.kinds[found.kind], request, proxy)
    return call.json or dict(call.form or {})


class TestCreateBody:
    def test_names_are_the_vendors_own(self) -> None:
        """The same challenge is spelt as each vendor's table says, nested fields included."""
        found = Challenge(
            kind=ChallengeKind.TURNSTILE,
            page_url="https://a.test/",
            params={"sitekey": "k", "action": "login", "cdata": "c"},
        )
        tasks = {}
        for name in ("capsolver", "2captcha", "anticaptcha", "capmonster"):
            chosen = profile(name)
            tasks[name] = created(chosen, found)["task"]
        base = {"websiteURL": "https://a.test/", "websiteKey": "k"}
        assert tasks == {
            "capsolver": base
            | {"type": "AntiTurnstileTaskProxyLess", "metadata": {"action": "login", "cdata": "c"}},
            "2captcha": base | {"type": "TurnstileTaskProxyless", "action": "login", "data": "c"},
            "anticaptcha": base | {"type": "TurnstileTaskProxyless", "action": "login", "cData": "c"},
            "capmonster": base | {"type": "TurnstileTask", "pageAction": "login", "data": "c"},
        }

    def test_invisible_travels_as_a_boolean(self) -> None:
        """``invisible`` is text in the challenge and true in the task."""
        chosen = profile("2captcha")
        found = Challenge(kind=V2, page_url="https://a.test/", params={"sitekey": "k", "invisible": "true"})
        assert created(chosen, found)["task"]["isInvisible"] is True

    @pytest.mark.parametrize("invisible", [True, False])
    @pytest.mark.parametrize("name", sorted(VENDORS.keys() - {"ucaptcha"}))
    def test_the_simulated_vendors_read_invisible_in_their_own_spelling(
        self, name: str, *, invisible: bool
    ) -> None:
        """As a boolean of the task, or as a flag of the form; uCaptcha's spelling is not public."""
        params = {"sitekey": "k"} | ({"invisible": "true"} if invisible else {})
        chosen = profile(name)
        task = created(chosen, Challenge(kind=V2, page_url="https://a.test/", params=params))
        type_name, url_name = "method", "pageurl"
        if chosen.family is Family.CREATE_TASK:
            task, type_name, url_name = task["task"], "type", "websiteURL"
        order = read_order(VENDORS[name], task[type_name], task, url_name=url_name)
        assert isinstance(order, Order)
        assert (order.kind.name, order.invisible) == (V2, invisible)

    def test_ucaptcha_gets_no_field_that_is_not_public(self) -> None:
        """The unverified service gets type, websiteURL and websiteKey, and nothing that we made up."""
        chosen = profile("ucaptcha")
        found = Challenge(
            kind=V2, page_url="https://a.test/", params={"sitekey": "k", "data_s": "s", "invisible": "true"}
        )
        body = created(chosen, found)
        assert set(body) == {"clientKey", "task"}
        assert set(body["task"]) == {"type", "websiteURL", "websiteKey"}

    def test_a_preset_is_what_the_operator_says(self) -> None:
        """Extra fields of the setting go into the task as they are."""
        chosen = profile("ucaptcha", extra_task_fields={"route": "cheapest"})
        assert created(chosen, challenge())["task"]["route"] == "cheapest"

    @pytest.mark.parametrize(
        ("name", "task_id", "sent"),
        [("2captcha", "12", 12), ("capsolver", "12", "12"), ("ucaptcha", "3f-a", "3f-a")],
    )
    def test_task_ids_keep_the_vendors_type(self, name: str, task_id: str, sent: object) -> None:
        """Some vendors count their tasks, others name them; a number sent as text is another id."""
        call = family(profile(name)).result(task_id)
        assert call.json is not None
        assert call.json["taskId"] == sent


class TestCreateReply:
    def test_a_task_id_is_a_task(self) -> None:
        """Numbers and names are both ids."""
        assert read_create(200, b'{"errorId":0,"taskId":17}') == wire.Created(task_id="17")
        assert read_create(200, b'{"errorId":0,"errorCode":"","taskId":"u-1"}') == wire.Created(task_id="u-1")

    def test_solved_on_the_spot(self) -> None:
        """A reply that is already ready brings its token with it."""
        reply = read_create(
            200, b'{"errorId":0,"taskId":"u","status":"ready","solution":{"gRecaptchaResponse":"t"}}'
        )
        assert reply == wire.Created(task_id="u", ready=wire.Ready(token="t"))

    @pytest.mark.parametrize(
        ("status", "body", "kind"),
        [
            (200, b'{"errorId":10,"errorCode":"ERROR_ZERO_BALANCE","taskId":0}', ErrorKind.FATAL),
            (400, b'{"errorId":1,"errorCode":"ERROR_SERVICE_UNAVALIABLE"}', ErrorKind.BUSY),
            (200, b'{"errorId":2,"errorCode":"ERROR_NO_SLOT_AVAILABLE"}', ErrorKind.BUSY),
            (500, b'{"errorId":1,"errorCode":"ERROR_NO_SUCH_THING"}', ErrorKind.UNKNOWN),
            (200, b'{"errorId":1,"errorDescription":"ERROR_ZERO_BALANCE"}', ErrorKind.FATAL),
            (200, b'{"errorId":77}', ErrorKind.UNKNOWN),
            (429, b"slow down", ErrorKind.BUSY),
            (302, b"", ErrorKind.FATAL),
            (404, b"<html>not here</html>", ErrorKind.FATAL),
        ],
    )
    def test_a_definite_refusal_spent_nothing(self, status: int, body: bytes, kind: ErrorKind) -> None:
        """M3: an error reply, or a refusal by the front door, proves that no task was made."""
        reply = read_create(status, body)
        assert isinstance(reply, wire.Rejected)
        assert reply.kind is kind

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b""),
            (200, b"<html>welcome</html>"),
            (200, b'{"errorId":0,"taskI'),
            (200, b'{"errorId":0}'),
            (200, b'{"errorId":0,"taskId":null}'),
            (200, b'{"errorId":0,"taskId":true}'),
            (200, b'{"errorId":0,"taskId":{"a":1}}'),
            (200, b"[1]"),
            (200, b"\xff\xfe"),
            (200, b"[" * 100_000),
            (502, b"<html>bad gateway</html>"),
            (504, b""),
            (408, b""),
        ],
    )
    def test_anything_else_is_in_doubt(self, status: int, body: bytes) -> None:
        """M3: what proves neither a task nor a refusal counts as spent."""
        assert isinstance(read_create(status, body), wire.InDoubt)


class TestInPhpCreateReply:
    def test_a_task_id_is_a_task(self) -> None:
        """As text and as JSON."""
        assert read_create(200, b"OK|17", IN_PHP) == wire.Created(task_id="17")
        assert read_create(200, b'{"status":1,"request":"17"}', IN_PHP) == wire.Created(task_id="17")

    @pytest.mark.parametrize(
        ("status", "body", "kind"),
        [
            (200, b"ERROR_ZERO_BALANCE", ErrorKind.FATAL),
            (200, b'{"status":0,"request":"ERROR_NO_SLOT_AVAILABLE"}', ErrorKind.BUSY),
            (200, b"MAX_USER_TURN", ErrorKind.BUSY),
            (200, b"ERROR: 1003", ErrorKind.BUSY),
            (500, b"ERROR_NEVER_HEARD_OF", ErrorKind.UNKNOWN),
            (429, b"SLOW DOWN", ErrorKind.BUSY),
            (404, b"NOT FOUND", ErrorKind.FATAL),
            (200, b"ERROR: 1006", ErrorKind.UNKNOWN),
            (200, b'{"status":0,"request":"ACCOUNT_SUSPENDED"}', ErrorKind.UNKNOWN),
            (200, b'{"status":"0","result":"Wrong user key"}', ErrorKind.UNKNOWN),
        ],
    )
    def test_a_definite_refusal_spent_nothing(self, status: int, body: bytes, kind: ErrorKind) -> None:
        """M3: a code of the family's, or a refusal by the front door, proves that no task was made."""
        reply = read_create(status, body, IN_PHP)
        assert isinstance(reply, wire.Rejected)
        assert reply.kind is kind

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b""),
            (200, b"<html>welcome</html>"),
            (200, b"OK"),
            (200, b"OK|"),
            (200, b"ERROR"),
            (200, b'{"status":1,"requ'),
            (200, b'{"status":1,"request":null}'),
            (200, b'{"status":0,"request":{"a":1}}'),
            (502, b"ERROR"),
            (504, b"GATEWAY TIMEOUT"),
            (504, b'{"status":504,"request":"abc"}'),
            (408, b"TIMEOUT"),
        ],
    )
    def test_anything_else_is_in_doubt(self, status: int, body: bytes) -> None:
        """M3: a shout that is no code may be a gateway's, behind which a task was made and charged."""
        assert isinstance(read_create(status, body, IN_PHP), wire.InDoubt)

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b"OK"),
            (408, b"TIMEOUT"),
            (200, b"ERROR"),
            (504, b'{"status":504,"request":"TIMEOUT"}'),
            (200, b'{"status":0,"request":"CAPTCHA_NOT_READY"}'),
        ],
    )
    def test_no_shout_ends_a_paid_task(self, status: int, body: bytes) -> None:
        """It is asked again: an answer may be there, and was paid for."""
        assert isinstance(read_result(status, body, IN_PHP), wire.Pending)


class TestResultReply:
    def test_ready_with_a_cost_as_text(self) -> None:
        """Vendors send the price as text; the token's field depends on the kind."""
        solution = b'{"gRecaptchaResponse":"t","userAgent":"U"}'
        body = b'{"errorId":0,"status":"ready","solution":' + solution + b',"cost":"0.0030"}'
        assert read_result(200, body) == wire.Ready(token="t", user_agent="U", cost=0.003)

    @pytest.mark.parametrize("cost", ["-1", '"NaN"', '"1e999"', "[]", "true", '"free"', "null"])
    def test_a_cost_that_is_no_price_is_no_cost(self, cost: str) -> None:
        """Nonsense in the cost leaves the price table's figure in force."""
        body = f'{{"errorId":0,"status":"ready","solution":{{"gRecaptchaResponse":"t"}},"cost":{cost}}}'
        assert read_result(200, body.encode()) == wire.Ready(token="t")

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b'{"errorId":0,"status":"processing"}'),
            (200, b'{"errorId":0,"status":"idle"}'),
            (200, b'{"errorId":1,"errorCode":"ERROR_CAPTCHA_NOT_READY"}'),
            (400, b'{"errorId":1,"errorCode":"ERROR_RATE_LIMIT"}'),
            (200, b"<html>"),
            (500, b"oops"),
            (500, b'{"errorId":1,"errorCode":"ERROR_NEVER_HEARD_OF"}'),
            (200, b'{"errorId":0,"status":"rea'),
            (200, b'{"errorId":0,"status":"on holiday"}'),
            (200, b"null"),
        ],
    )
    def test_what_is_not_understood_is_not_ready_yet(self, status: int, body: bytes) -> None:
        """A paid task is not given up for a bad reply; its time limit bounds the polling."""
        assert isinstance(read_result(status, body), wire.Pending)

    @pytest.mark.parametrize(
        ("body", "code", "kind"),
        [
            (b'{"errorId":12,"errorCode":"ERROR_CAPTCHA_UNSOLVABLE"}', "ERROR_CAPTCHA_UNSOLVABLE", "retry"),
            (b'{"errorId":16,"errorCode":"ERROR_NO_SUCH_CAPCHA_ID"}', "ERROR_NO_SUCH_CAPCHA_ID", "lost"),
            (b'{"errorId":1,"errorCode":"ERROR_NEW"}', "ERROR_NEW", "unknown"),
            (b'{"errorId":0,"status":"ready","solution":{}}', "no_token", "retry"),
            (b'{"errorId":0,"status":"ready","solution":[]}', "no_token", "retry"),
            (b'{"errorId":0,"status":"ready"}', "no_token", "retry"),
            (b'{"errorId":0,"status":"failed"}', "failed", "retry"),
        ],
    )
    def test_a_failed_task_says_why(self, body: bytes, code: str, kind: str) -> None:
        """Codes are matched by their text and classed by the table."""
        reply = read_result(200, body)
        assert isinstance(reply, wire.Failed)
        assert (reply.code, reply.kind) == (code, ErrorKind(kind))


def solved(name: str, kind: ChallengeKind, solution: object, **beside: object) -> wire.ResultReply:
    """Read a reply that a task is solved, with that solution and other fields beside it."""
    chosen = profile(name)
    spelt = {"errorId": 0, "status": "ready", "solution": solution}
    if chosen.family is Family.IN_PHP:
        spelt = {"status": 1, "request": solution}
    return family(chosen).read_result(chosen.kinds[kind], 200, msgspec.json.encode(spelt | beside))


class TestWhatGoesIntoHeaders:
    """No header can carry a control character: a request with one is never sent."""

    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            ("Mozilla/5.0\n", "Mozilla/5.0"),
            (" \r\n", None),
            ("a\r\nX: y", None),
            ("a\x7f", None),
            ("a\0b", None),
        ],
    )
    def test_a_user_agent_is_stripped_and_dropped_where_controls_are_left(
        self, sent: str, kept: str | None
    ) -> None:
        """In both families; the token is paid for and is good without it."""
        wanted = wire.Ready(token="t", user_agent=kept)
        token = {"gRecaptchaResponse": "t"}
        assert solved("capmonster", V2, {**token, "userAgent": sent}) == wanted
        assert solved("capmonster", V2, {**token, "headers": {"User-Agent": sent}}) == wanted
        assert solved("captchaai", V2, "t", user_agent=sent) == wanted
        cleared = {"cf_clearance": "c", "userAgent": sent}
        assert solved("captchaai", CLEARANCE, cleared) == wire.Ready(
            cookies={"cf_clearance": "c"}, user_agent=kept
        )

    @pytest.mark.parametrize("shape", [dict, list, str])
    def test_a_cookie_is_stripped(self, shape: type) -> None:
        """In every shape in which vendors send it, in both families."""
        value = "abc\r\n"
        cookies: dict[type, object] = {
            dict: {"cf_clearance": value},
            list: [{"name": "cf_clearance", "value": value}],
            str: value,
        }
        wanted = wire.Ready(cookies={"cf_clearance": "abc"})
        assert solved("capsolver", CLEARANCE, {"cookies": cookies[shape]}) == wanted
        assert solved("captchaai", CLEARANCE, cookies[shape]) == wanted

    @pytest.mark.parametrize("value", ["a\r\nX: y", "a\0b", "cf_clearance=a\nb; Path=/", " \r\n"])
    def test_a_cookie_with_controls_in_it_is_missing(self, value: str) -> None:
        """It is as if the solution had none: the task failed, and another may bring one."""
        for reply in (
            solved("capsolver", CLEARANCE, {"cookies": {"cf_clearance": value.partition("=")[2] or value}}),
            solved("capsolver", CLEARANCE, {"cookies": value}),
            solved("captchaai", CLEARANCE, value),
        ):
            assert isinstance(reply, wire.Failed)
            assert reply.code == "no_token"

    @pytest.mark.parametrize("name", [None, [], {}])
    def test_a_cookie_without_a_name_is_passed_over(self, name: object) -> None:
        """Nothing that a stranger sends in place of one raises."""
        rows = [{"name": name, "value": "x"}, {"name": "cf_clearance", "value": "c"}]
        wanted = wire.Ready(cookies={"cf_clearance": "c"})
        assert solved("capsolver", CLEARANCE, {"cookies": rows}) == wanted
        assert solved("captchaai", CLEARANCE, rows) == wanted

    def test_a_sound_cookie_is_taken_where_one_elsewhere_is_not(self) -> None:
        """Vendors put it into several places."""
        both = {"cookies": {"cf_clearance": "a\nb"}, "token": "c"}
        assert solved("capsolver", CLEARANCE, both) == wire.Ready(cookies={"cf_clearance": "c"})


@pytest.mark.parametrize("shipped", SHIPPED.values(), ids=SHIPPED.keys())
class TestProfiles:
    def test_the_whole_time_limit_fits_under_the_poll_cap(self, shipped: Profile) -> None:
        """Polling to the very end never passes the number of polls at which a vendor bans."""
        for kind in shipped.kinds.values():
            plan = shipped.poll_plan(kind)
            assert plan.made_by(plan.time_limit_s) <= min(shipped.poll_cap, 120)

    def test_each_kind_has_a_price_and_a_token(self, shipped: Profile) -> None:
        """Nothing is sold without a price to reserve, nor without a place to find the answer."""
        assert shipped.offer(V2) is not None
        for kind, row in shipped.kinds.items():
            assert row.kind is kind
            assert shipped.sells_threads or row.price > 0
            assert shipped.family is Family.IN_PHP or row.token or row.values or row.cookies
            facts = FACTS[kind]
            assert set(row.fields) <= {*facts.required, *facts.optional, "user_agent"}, kind
            assert set(row.values) in (set(), set(facts.fields))
            assert bool(row.cookies) == bool(facts.cookies)
            assert facts.bound <= row.needs_proxy

    def test_replies_never_crash(self, shipped: Profile) -> None:
        """Shapes that no vendor documents are read as something, for every vendor."""
        values: list[object] = [None, 0, 1, "", "x", [], {}, True, -1, 1e300, {"token": 1}]
        for kind in shipped.kinds.values():
            for name in ("errorId", "errorCode", "errorDescription", "taskId", "status", "solution", "cost"):
                for value in values:
                    body = msgspec.json.encode({"errorId": 0, "status": "ready", name: value})
                    family(shipped).read_create(kind, 200, body)
                    family(shipped).read_result(kind, 200, body)
