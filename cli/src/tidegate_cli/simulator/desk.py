"""One door for every call: which vendor or which other page a path means, and what goes wrong on the way.

Pure, but for the state it was given: a request and ``now`` in, an answer out.
"""

from datetime import UTC, datetime

from tidegate_cli.simulator import control, createtask, inphp
from tidegate_cli.simulator.answers import HTML, Answer, Asked, json_answer
from tidegate_cli.simulator.behaviour import BEFORE, Wire
from tidegate_cli.simulator.orders import host_of
from tidegate_cli.simulator.service import SolvingService
from tidegate_cli.simulator.vendors import HOSTS, VENDORS, Family, Vendor

_GATEWAY_PAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


class Desk:
    """Answers requests out of one service."""

    def __init__(self, service: SolvingService) -> None:
        self._service = service

    def answer(self, asked: Asked, now: float) -> Answer:
        """Answer one request."""
        if asked.path == "/ping":
            return json_answer({"ok": True})
        if asked.path == "/siteverify":
            return self._siteverify(asked, now)
        if asked.path.startswith("/control/"):
            return control.answer(self._service, asked, now)
        name, _, rest = asked.path.removeprefix("/").partition("/")
        vendor = VENDORS.get(name)
        if vendor is None and (known := HOSTS.get(host_of(asked.host))) is not None:
            vendor, rest = known, asked.path.removeprefix("/")
        if vendor is None:
            return json_answer(
                {"error": f"there is no vendor at this path; there are {', '.join(VENDORS)}"}, 404
            )
        return self._vendor(vendor, "/" + rest, asked, now)

    def _vendor(self, vendor: Vendor, path: str, asked: Asked, now: float) -> Answer:
        is_json = vendor.family is Family.CREATE_TASK
        operation = (
            createtask.operation_of(vendor, path)
            if is_json
            else inphp.operation_of(vendor, path, asked.fields)
        )
        wire = Wire.FINE if operation is None else self._service.wire(vendor, operation)
        behaviour = self._service.behaviour(vendor.name)
        delay_s = behaviour.slow_ms / 1000
        if wire in BEFORE:
            answer = Answer(
                status=behaviour.server_error_status if wire is Wire.SERVER_ERROR else 200,
                body=_GATEWAY_PAGE,
                content_type=HTML,
            )
        elif is_json:
            answer = createtask.answer(self._service, vendor, path, asked.body, now)
        else:
            answer = inphp.answer(self._service, vendor, path, asked.fields, now)
        return Answer(
            status=answer.status,
            body=answer.body[: len(answer.body) // 2] if wire is Wire.TRUNCATED else answer.body,
            content_type=answer.content_type,
            delay_s=delay_s,
            drop=wire in (Wire.DROP, Wire.LOST),
        )

    def _siteverify(self, asked: Asked, now: float) -> Answer:
        if asked.method != "POST":
            return _verdict(("bad-request",))
        if not asked.fields.get("secret"):
            return _verdict(("missing-input-secret",))
        response = asked.fields.get("response", "")
        if not response:
            return _verdict(("missing-input-response",))
        host = host_of(asked.fields.get("host", ""))
        verdict = self._service.verify(
            response,
            asked.fields.get("sitekey", ""),
            host,
            now,
            invisible={"true": True, "false": False}.get(asked.fields.get("invisible", "")),
            address=asked.fields.get("remoteip", ""),
            agent=asked.fields.get("agent", ""),
        )
        if verdict.token is None:
            return _verdict(verdict.error_codes)
        solved = datetime.fromtimestamp(self._service.wall_ms(verdict.token.solved_at) / 1000, UTC)
        reply = {
            "success": True,
            "error-codes": [],
            "challenge_ts": solved.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "hostname": verdict.token.host,
        }
        if verdict.token.action:
            reply["action"] = verdict.token.action
        if verdict.token.cdata:
            reply["cdata"] = verdict.token.cdata
        return json_answer(reply)


def _verdict(codes: tuple[str, ...]) -> Answer:
    return json_answer({"success": False, "error-codes": codes})
