"""The older in.php / res.php family: form fields in, text out, or JSON with ``json=1``.

Note the vendors' spelling CAPCHA, without a T.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from tidegate_cli.simulator.answers import Answer, json_answer, text_answer
from tidegate_cli.simulator.behaviour import Operation
from tidegate_cli.simulator.charges import MICROS
from tidegate_cli.simulator.codes import Fault
from tidegate_cli.simulator.orders import read_order
from tidegate_cli.simulator.service import Pending, Refused, SolvingService
from tidegate_cli.simulator.solutions import USER_AGENT, form_answer
from tidegate_cli.simulator.vendors import Vendor

_ACTIONS = {
    "get": Operation.RESULT,
    "get2": Operation.RESULT,
    "getbalance": Operation.BALANCE,
    "threadsinfo": Operation.BALANCE,
}


def operation_of(vendor: Vendor, path: str, fields: Mapping[str, str]) -> Operation | None:
    """Return what a path below the vendor's prefix and its fields ask for."""
    if path == "/in.php":
        return Operation.CREATE
    action = fields.get("action", "")
    return Operation.REPORT if action in vendor.reports else _ACTIONS.get(action)


def answer(
    service: SolvingService, vendor: Vendor, path: str, fields: Mapping[str, str], now: float
) -> Answer:
    """Answer one call."""
    operation = operation_of(vendor, path, fields)
    key = fields.get("key", "")
    if operation is Operation.CREATE:
        return _create(service, vendor, key, fields, now)
    if operation is Operation.RESULT:
        return _result(service, vendor, key, fields, now)
    if operation is Operation.BALANCE:
        return _balance(service, vendor, key, fields, now)
    if operation is Operation.REPORT:
        return _report(service, vendor, key, fields, now)
    return _say(vendor.codes[Fault.NO_SUCH_METHOD], as_json=fields.get("json") == "1", good=False)


def _balance(
    service: SolvingService, vendor: Vendor, key: str, fields: Mapping[str, str], now: float
) -> Answer:
    as_json = fields.get("json") == "1"
    balance = service.balance(vendor, key, now)
    if isinstance(balance, Refused):
        return _say(balance.code, as_json=as_json, good=False)
    if fields["action"] == "getbalance":
        return _say(f"{balance / MICROS:.5f}", as_json=as_json)
    busy = service.tasks.in_flight(vendor.name, now)
    threads = service.behaviour(vendor.name).threads
    return json_answer({"status": 1, "threads": str(threads), "working_threads": str(busy)})


def _report(
    service: SolvingService, vendor: Vendor, key: str, fields: Mapping[str, str], now: float
) -> Answer:
    as_json = fields.get("json") == "1"
    good = vendor.reports[fields["action"]] == "good"
    refused = service.report(vendor, key, fields.get("id", ""), good=good, now=now)
    if refused is not None:
        return _say(refused.code, as_json=as_json, good=False)
    return _say("OK_REPORT_RECORDED", as_json=as_json)


def _create(
    service: SolvingService, vendor: Vendor, key: str, fields: Mapping[str, str], now: float
) -> Answer:
    as_json = fields.get("json") == "1"
    order = read_order(vendor, fields.get("method"), fields, url_name="pageurl")
    task = service.create(vendor, key, order, now)
    if isinstance(task, Refused):
        return _say(task.code, as_json=as_json, good=False)
    return _say(task.id, as_json=as_json, prefix="OK|")


def _result(
    service: SolvingService, vendor: Vendor, key: str, fields: Mapping[str, str], now: float
) -> Answer:
    as_json = fields.get("json") == "1"
    result = service.result(vendor, key, fields.get("id", ""), now)
    if isinstance(result, Refused):
        return _say(result.code, as_json=as_json, good=False)
    if isinstance(result, Pending):
        return _say("CAPCHA_NOT_READY", as_json=as_json, good=False)
    found = form_answer(result.task)
    text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
    price = f"{result.task.cost_micros / MICROS:.5f}" if fields["action"] == "get2" else ""
    if as_json and result.task.order.kind.name in vendor.in_result:
        return json_answer({"status": 1, "result": found, "user_agent": USER_AGENT})
    if as_json:
        return json_answer({"status": 1, "request": found} | ({"price": price} if price else {}))
    return text_answer(f"OK|{text}|{price}" if price else f"OK|{text}")


def _say(text: str, *, as_json: bool, good: bool = True, prefix: str = "") -> Answer:
    if as_json:
        reply: dict[str, Any] = {"status": int(good), "request": text}
        return json_answer(reply)
    return text_answer(prefix + text)
