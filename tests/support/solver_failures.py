"""Every documented way in which one provider fails, and what must hold while another one is healthy."""

from typing import Any

from support.solver_market import Market, Result, campaign
from support.virtual_time import virtually
from tidegate.records import ChallengeKind
from tidegate_cli.simulator.vendors import VENDORS


def healthy_beside(vendor: str) -> str:
    """Return who is well meanwhile: one that charges failures, so that none of its tasks may be lost."""
    return "capmonster" if vendor == "anticaptcha" else "anticaptcha"


# Ways of failing that have no code; a share of 1 is every request or task.
WAYS: dict[str, dict[str, Any]] = {
    "unreachable": {"away": True},
    "reset_before": {"drop": 1.0},
    "reset_after": {"lost": 1.0},
    "half_answers": {"truncated": 1.0},
    "gateway_pages": {"html": 1.0},
    "server_errors": {"server_error": 1.0},
    "silent": {"slow_ms": 40_000.0},
    "slow": {"latency_ms": 150_000.0},
    "never_ready": {"never_ready": 1.0},
    "wrong_answers": {"wrong_token": 1.0},
    "half_wrong_answers": {"wrong_token": 0.5},
    "no_money": {"zero_balance": True},
    "kind_withdrawn": {"unsupported": [ChallengeKind.RECAPTCHA_V2]},
}
# Every other answer to an order or a poll, if the code is not one that only asks to poll on.
_NO_FAILURE = ("CAPCHA_NOT_READY", "ERROR_CAPTCHA_NOT_READY")


def codes(vendor: str) -> dict[str, dict[str, Any]]:
    """Return a way of failing for each documented code: on every order, and at the end of every task."""
    ways = {}
    for code in VENDORS[vendor].documented:
        if code not in _NO_FAILURE:
            ways[f"order {code}"] = {"errors": [{"code": code, "on": "create"}]}
            ways[f"task {code}"] = {"errors": [{"code": code, "on": "result"}]}
    return ways


def fail(vendor: str, behaviour: dict[str, Any], *, jobs: int = 60, every_s: float = 0.5) -> Result:
    """Let the cheap provider begin to fail while jobs come; the dear one is well."""

    async def main() -> Result:
        kind = ChallengeKind.RECAPTCHA_V2
        row = VENDORS[vendor].prices[kind] / 1_000_000
        # Both prices as charged, or a touch above: the failing one is the one that is wanted.
        well = healthy_beside(vendor)
        cheap, dear = max(row, 0.0001), VENDORS[well].prices[kind] / 1_000_000
        market = Market(
            {vendor: {"prices": {kind: cheap}}, well: {"prices": {kind: max(dear, cheap * 1.5)}}},
            latency_ms=15_000.0,
            balance_every_s=86_400.0,
        )
        return await campaign(market, vendor, dict(behaviour), jobs=jobs, every_s=every_s)

    return virtually(main())


def complaints(vendor: str, result: Result, *, noticing: int = 10) -> list[str]:
    """Return what does not hold: 99 % opened, no rule broken that bans, no more lost than was in flight.

    Where answers are refused one by one, ``noticing`` of them show it; what is in flight then is lost too.
    """
    price = VENDORS[vendor].prices[ChallengeKind.RECAPTCHA_V2]
    lost = result.wasted.get(vendor, 0)
    allowed = price * (result.in_flight_before + result.in_flight + noticing)
    found = []
    if result.share < 0.99:
        found.append(f"only {result.opened} of {result.jobs} opened: {result.codes.most_common(4)}")
    if result.offences or result.bans:
        found.append(f"rules broken: {result.offences}, bans {result.bans}")
    if lost > allowed:
        found.append(f"{lost} micro-dollars lost, {allowed} were in flight")
    lost_elsewhere = result.wasted.get(healthy_beside(vendor), 0)
    if lost_elsewhere:
        found.append(f"{lost_elsewhere} micro-dollars lost at the healthy one")
    return found
