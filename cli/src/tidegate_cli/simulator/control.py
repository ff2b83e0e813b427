"""The operator's side: what was charged, what happened, and how the vendors are to behave from now on."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from tidegate_cli.simulator.answers import Answer, Asked, json_answer
from tidegate_cli.simulator.behaviour import Behaviour
from tidegate_cli.simulator.charges import MICROS
from tidegate_cli.simulator.service import SolvingService
from tidegate_cli.simulator.vendors import VENDORS

_MOST_ROWS = 100_000


class Misuse(Exception):  # noqa: N818 -- the answer to it is a 400, not an error of ours
    """What was asked makes no sense; the message says why."""


class _Outage(msgspec.Struct, forbid_unknown_fields=True):
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3_600)]


class _Key(msgspec.Struct, forbid_unknown_fields=True):
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    balance: Annotated[float, msgspec.Meta(ge=0)]


def answer(service: SolvingService, asked: Asked, now: float) -> Answer:
    """Answer one call below ``/control``; 404 for a path that is not there, 400 for what makes no sense."""
    call = _CALLS.get((asked.method, asked.path))
    if call is None:
        known = ", ".join(" ".join(name) for name in _CALLS)
        return json_answer({"error": f"there is no {asked.method} {asked.path}; there are {known}"}, 404)
    try:
        return call(service, asked, now)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Misuse) as error:
        return json_answer({"error": str(error)}, 400)


def _number(asked: Asked, name: str, default: int) -> int:
    text = asked.fields.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise Misuse(f"{name} must be a whole number")
    return int(text)


def _charges(service: SolvingService, asked: Asked, _now: float) -> Answer:
    after, limit = _number(asked, "after", 0), _number(asked, "limit", _MOST_ROWS)
    return json_answer(
        {
            "total": service.charges.total,
            "cost": service.charges.total_micros / MICROS,
            "cost_micros": service.charges.total_micros,
            "charges": [
                msgspec.structs.asdict(row) | {"cost": row.cost_micros / MICROS}
                for row in service.charges.after(after, min(limit, _MOST_ROWS))
            ],
        }
    )


def _stats(service: SolvingService, _asked: Asked, now: float) -> Answer:
    vendors = {
        name: msgspec.structs.asdict(figures) | {"in_flight": service.tasks.in_flight(name, now)}
        for name, figures in service.figures.items()
    }
    return json_answer(
        {
            "vendors": vendors,
            "verified": service.verified,
            "tasks_kept": len(service.tasks),
            "tokens_kept": len(service.tokens),
        }
    )


def _tasks(service: SolvingService, asked: Asked, _now: float) -> Answer:
    rows: list[dict[str, Any]] = [
        {
            "task_id": task.id,
            "vendor": task.vendor,
            "kind": task.order.kind.name,
            "url": task.order.url,
            "polls": task.polls,
            "early_polls": task.early_polls,
            "failure": task.failure,
            "delivered": bool(task.token),
            "report": task.report,
            "cost_micros": task.cost_micros,
        }
        for task in service.tasks.recent(min(_number(asked, "limit", 1_000), _MOST_ROWS))
    ]
    return json_answer({"tasks": rows})


def _behave(service: SolvingService, asked: Asked, _now: float) -> Answer:
    fields = msgspec.json.decode(asked.body, type=dict[str, Any])
    vendor = fields.pop("vendor", "*")
    if vendor != "*" and vendor not in VENDORS:
        raise Misuse(f"there is no vendor {str(vendor)[:50]!r}; there are {', '.join(VENDORS)} and * for all")
    behaviour = msgspec.convert(fields, Behaviour)
    service.behave(vendor, behaviour)
    return json_answer(behaviour)


def _behaviours(service: SolvingService, _asked: Asked, _now: float) -> Answer:
    return json_answer({name: service.behaviour(name) for name in VENDORS})


def _vendors(_service: SolvingService, _asked: Asked, _now: float) -> Answer:
    return json_answer(
        {
            vendor.name: {
                "family": vendor.family,
                "hosts": vendor.hosts,
                "types": vendor.types,
                "prices_micros": {kind.value: price for kind, price in vendor.prices.items()},
                "errors": vendor.documented,
                "reports": vendor.reports,
                "charges_failures": vendor.charges_failures,
                "kept_s": vendor.window_s,
                "kept_from": vendor.window_from,
                "least_interval_s": vendor.least_interval_s,
                "most_polls": vendor.most_polls,
                "ban_s": vendor.ban_s,
                "rules": vendor.rules,
            }
            for vendor in VENDORS.values()
        }
    )


def _keys(service: SolvingService, asked: Asked, _now: float) -> Answer:
    key = msgspec.json.decode(asked.body, type=_Key)
    service.accounts.configure(key.key, round(key.balance * MICROS))
    return json_answer({"ok": True})


def _outage(_service: SolvingService, asked: Asked, _now: float) -> Answer:
    seconds = msgspec.json.decode(asked.body, type=_Outage).seconds
    return Answer(body=b'{"ok":true}', outage_s=seconds)


_CALLS: dict[tuple[str, str], Callable[[SolvingService, Asked, float], Answer]] = {
    ("GET", "/control/vendors"): _vendors,
    ("GET", "/control/charges"): _charges,
    ("GET", "/control/stats"): _stats,
    ("GET", "/control/tasks"): _tasks,
    ("GET", "/control/behaviour"): _behaviours,
    ("POST", "/control/behaviour"): _behave,
    ("POST", "/control/keys"): _keys,
    ("POST", "/control/outage"): _outage,
}
