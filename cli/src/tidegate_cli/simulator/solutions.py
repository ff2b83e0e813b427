"""What a ready task's answer looks like, by kind: the parts from which each vendor takes its own."""

from typing import Any

from tidegate_cli.simulator.kinds import Shape
from tidegate_cli.simulator.tasks import Task
from tidegate_cli.simulator.vendors import Vendor

# The browser that the simulated workers are supposed to have used.
USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/139.0.0.0 Safari/537.36"
)


def parts(task: Task) -> dict[str, Any]:
    """Return every part that an answer may have; the token is in each that a site verifies."""
    token, order = task.token, task.order
    kind = order.kind
    found: dict[str, Any] = {
        "gRecaptchaResponse": token,
        "token": token,
        "text": token,
        "userAgent": order.agent or USER_AGENT,
        "respKey": f"E0_{token[3:43]}",
        "turnstile": "turnstile",
        "confidence": 0.99,
        "url": "http://127.0.0.1/image",
    }
    if kind.shape is Shape.GEETEST_3:
        found |= {"challenge": order.challenge, "validate": token, "seccode": f"{token}|jordan"}
    if kind.shape is Shape.GEETEST_4:
        found |= {
            "captcha_id": order.sitekey,
            "lot_number": token[:16],
            "pass_token": token,
            "gen_time": str(int(task.ready_at)),
            "captcha_output": token[::-1],
        }
    if kind.cookie:
        found |= {
            kind.cookie: token,
            "cookie": f"{kind.cookie}={token}; Max-Age=31536000; Path=/; Secure; SameSite=Lax",
            "cookie_pair": f"{kind.cookie}={token}",
            "cookie_map": {kind.cookie: token},
            "headers": {"User-Agent": order.agent or USER_AGENT},
        }
    return found


def solution(vendor: Vendor, task: Task) -> dict[str, Any]:
    """Return a solution in a vendor's spelling."""
    found = parts(task)
    named = (name.partition("=") for name in vendor.solution[task.order.kind.name])
    return {name: found[source or name] for name, _, source in named}


def form_answer(task: Task) -> str | dict[str, Any]:
    """Return an answer as res.php gives it: a text, or an object for GeeTest."""
    found = parts(task)
    match task.order.kind.shape:
        case Shape.GEETEST_3:
            return {f"geetest_{name}": found[name] for name in ("challenge", "validate", "seccode")}
        case Shape.GEETEST_4:
            names = ("captcha_id", "lot_number", "pass_token", "gen_time", "captcha_output")
            return {name: found[name] for name in names}
        case Shape.COOKIE if task.order.kind.cookie == "datadome":
            return str(found["cookie"])
        case _:
            return task.token
