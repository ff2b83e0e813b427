"""The createTask / getTaskResult family: JSON in, JSON out, each vendor's envelope and error shape."""

from typing import Any

import msgspec

from tidegate_cli.simulator.answers import Answer, json_answer
from tidegate_cli.simulator.behaviour import Operation
from tidegate_cli.simulator.charges import MICROS
from tidegate_cli.simulator.codes import Fault
from tidegate_cli.simulator.orders import read_order
from tidegate_cli.simulator.service import Pending, Ready, Refused, SolvingService
from tidegate_cli.simulator.solutions import solution
from tidegate_cli.simulator.tasks import Task
from tidegate_cli.simulator.vendors import Envelope, Vendor

_OPERATIONS = {
    "/createTask": Operation.CREATE,
    "/getTaskResult": Operation.RESULT,
    "/getBalance": Operation.BALANCE,
}


class _Body(msgspec.Struct):
    """All that any of the calls may carry; what else is there is not looked at."""

    clientKey: str = ""  # noqa: N815 -- the vendors' spelling
    task: Any = None
    taskId: Any = None  # noqa: N815 -- the vendors' spelling
    result: Any = None


_decoder = msgspec.json.Decoder(_Body)


def operation_of(vendor: Vendor, path: str) -> Operation | None:
    """Return what a path below the vendor's prefix asks for."""
    return Operation.REPORT if path in vendor.reports else _OPERATIONS.get(path)


def answer(service: SolvingService, vendor: Vendor, path: str, body: bytes, now: float) -> Answer:
    """Answer one call."""
    operation = operation_of(vendor, path)
    if operation is None:
        return _refusal(vendor, Refused(vendor.codes[Fault.NO_SUCH_METHOD]))
    try:
        call = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _refusal(vendor, Refused(vendor.codes[Fault.BAD_REQUEST]))
    if operation is Operation.CREATE:
        return _create(service, vendor, call, now)
    if operation is Operation.RESULT:
        return _result(service, vendor, call, now)
    if operation is Operation.BALANCE:
        return _balance(service, vendor, call, now)
    return _report(service, vendor, path, call, now)


def _create(service: SolvingService, vendor: Vendor, call: _Body, now: float) -> Answer:
    fields = call.task if isinstance(call.task, dict) else {}
    order = read_order(vendor, fields.get("type"), fields, url_name="websiteURL")
    task = service.create(vendor, call.clientKey, order, now)
    if isinstance(task, Refused):
        return _refusal(vendor, task, creating=True)
    reply: dict[str, Any] = {"errorId": 0}
    if vendor.envelope is Envelope.CAPSOLVER:
        reply |= {"errorCode": "", "errorDescription": "", "status": "idle"}
    reply["taskId"] = _id(vendor, task)
    if task.order.kind.name in vendor.at_once and not task.failure:
        ready = service.at_once(vendor, task, now)
        reply |= {"status": "ready", "solution": solution(vendor, ready.task)}
    return json_answer(reply)


def _result(service: SolvingService, vendor: Vendor, call: _Body, now: float) -> Answer:
    # An id of the wrong JSON type is not this vendor's id.
    right_type = isinstance(call.taskId, str if vendor.uuid_ids else int)
    result = service.result(vendor, call.clientKey, str(call.taskId) if right_type else "", now)
    if isinstance(result, Refused):
        return _refusal(vendor, result, failed=True)
    if isinstance(result, Pending):
        reply: dict[str, Any] = {"errorId": 0, "status": "processing"}
        if vendor.envelope is Envelope.CAPSOLVER:
            reply["taskId"] = call.taskId
        return json_answer(reply)
    return json_answer(_ready(vendor, result))


def _ready(vendor: Vendor, ready: Ready) -> dict[str, Any]:
    task = ready.task
    reply: dict[str, Any] = {"errorId": 0, "status": "ready", "solution": solution(vendor, task)}
    if vendor.envelope is Envelope.CAPSOLVER:
        reply |= {"errorCode": "", "errorDescription": "", "taskId": task.id}
    elif vendor.envelope is Envelope.WORKERS:
        reply |= {
            "cost": f"{task.cost_micros / MICROS:.5f}",
            "ip": "127.0.0.1",
            "createTime": ready.created_ms // 1000,
            "endTime": ready.ready_ms // 1000,
            "solveCount": 1,
        }
    elif vendor.envelope is Envelope.CAPMONSTER:
        reply["cost"] = task.cost_micros / MICROS
    return reply


def _balance(service: SolvingService, vendor: Vendor, call: _Body, now: float) -> Answer:
    balance = service.balance(vendor, call.clientKey, now)
    if isinstance(balance, Refused):
        return _refusal(vendor, balance)
    reply: dict[str, Any] = {"errorId": 0, "balance": balance / MICROS}
    if vendor.envelope is Envelope.CAPSOLVER:
        reply["packages"] = []
    return json_answer(reply)


def _report(service: SolvingService, vendor: Vendor, path: str, call: _Body, now: float) -> Answer:
    good = vendor.reports[path] == "good"
    if vendor.reports[path] == "feedback":
        good = not (isinstance(call.result, dict) and call.result.get("invalid"))
    refused = service.report(vendor, call.clientKey, str(call.taskId), good=good, now=now)
    if refused is not None:
        return _refusal(vendor, refused)
    if vendor.envelope is Envelope.CAPSOLVER:
        return json_answer({"errorId": 0, "message": "okay"})
    return json_answer({"errorId": 0, "status": "success"})


def _id(vendor: Vendor, task: Task) -> str | int:
    return task.id if vendor.uuid_ids else int(task.id)


def _refusal(vendor: Vendor, refused: Refused, *, creating: bool = False, failed: bool = False) -> Answer:
    reply: dict[str, Any] = {"errorId": vendor.error_ids.get(refused.code, 1)}
    if vendor.envelope is not Envelope.PLAIN:
        reply["errorCode"] = refused.code
    reply["errorDescription"] = refused.code if vendor.envelope is Envelope.PLAIN else _sentence(refused.code)
    if creating and vendor.envelope is Envelope.CAPMONSTER:
        reply["taskId"] = 0
    if failed and vendor.envelope is Envelope.CAPSOLVER:
        reply["status"] = "failed"
    return json_answer(reply, vendor.error_status.get(refused.code, 200))


def _sentence(code: str) -> str:
    return code.removeprefix("ERROR_").replace("_", " ").capitalize() + "."
