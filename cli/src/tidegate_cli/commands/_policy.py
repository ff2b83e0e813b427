"""The work of ``tidegate policy check``, with everything heavy imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError, RecordError
from tidegate.events import Event
from tidegate.settings import load
from tidegate.sites import site_of, without_credentials
from tidegate_fetcher.addresses import AddressRules, canonical
from tidegate_fetcher.policy import HostRules, Policy
from tidegate_fetcher.policy_watch import PolicyWatch
from tidegate_fetcher.settings import FetcherSettings, Settings
from tidegate_fetcher.site_policies import SitePolicies
from yarl import URL

from tidegate_cli.exits import Exit


async def check_main(url: str, file: Path | None, *, as_json: bool) -> int:
    """Explain, and return the exit code. Raises ConfigurationError for a wrong file or setting."""
    settings = load(Settings).fetcher
    path = file or settings.policy_file
    policies = SitePolicies(settings.site_policy())
    await PolicyWatch(path, policies, SystemClock(), _unheard).begin()
    try:
        site = site_of(url)
    except RecordError as error:
        raise ConfigurationError(f"{error.message} Nothing of it would be fetched.") from None
    told = explain(without_credentials(url), site, settings, policies, path)
    print(msgspec.json.encode(told).decode() if as_json else text_of(told))  # noqa: T201 -- the answer
    return Exit.OK


def explain(
    url: str, site: str, settings: FetcherSettings, policies: SitePolicies, path: Path | None
) -> dict[str, Any]:
    """Return what would be done with a URL as JSON-ready values; reasons are sentences or null. Pure."""
    here, asked = policies.of(site), canonical(URL(url))
    policy = Policy(
        allowed_ports=frozenset(settings.allowed_ports),
        allow_private=settings.allow_private,
        solve_hosts=HostRules(settings.solve_hosts),
        sites=policies,
    )
    addresses = AddressRules(allow_private=settings.allow_private, denied=settings.denied_networks)
    refusal = policy.refusal(asked)
    what = addresses.refusal_of_host(asked.raw_host or "")
    refused = refusal.message if refusal is not None else None
    if what is not None:
        refused = f"The address of {asked.raw_host} is {what}, which is not connected to."
    solving = policy.solve_refusal(asked)
    return {
        "url": url,
        "site": site,
        "because": here.source,
        "file": None if path is None else str(path),
        "refused": refused,
        "robots": here.robots,
        "rate": here.rule.per_second,
        "burst": here.rule.burst,
        "concurrency": here.rule.concurrency,
        "user_agent": here.user_agent,
        "solve_refused": None if solving is None else solving.message,
        "max_cost": here.max_cost,
        "submit": None if here.submit is None else msgspec.to_builtins(here.submit),
        "image": None if here.image is None else msgspec.to_builtins(here.image),
    }


def text_of(told: Mapping[str, Any]) -> str:
    """Return the same for a person. Pure."""
    by = told["because"]
    if told["file"] is not None and by != "the settings":
        by = f"{by} of {told['file']}"
    rate = "as fast as it answers" if told["rate"] is None else f"{told['rate']:g} requests a second"
    burst = f", {told['burst']} at once after a rest" if told["rate"] is not None else ""
    lines = [
        told["url"],
        f"  site        {told['site']}",
        f"  by          {by}",
        f"  fetched     {'yes' if told['refused'] is None else 'no: ' + told['refused']}",
        f"  robots.txt  {'obeyed' if told['robots'] else 'ignored'}",
        f"  rate        {rate}{burst}; {told['concurrency']} at once at most",
        f"  user agent  {told['user_agent']}",
        f"  solving     {'allowed' if told['solve_refused'] is None else 'no: ' + told['solve_refused']}",
    ]
    if told["max_cost"] is not None:
        lines.append(f"  a solve     costs {told['max_cost']:g} US dollars at most")
    if told["submit"] is not None:
        recipe = told["submit"]
        lines.append(f"  answer      {recipe['method']} {recipe['url']}: {', '.join(recipe['fields'])}")
    if told["image"] is not None:
        lines.append(f"  picture     {told['image']['selector']} into {told['image']['field'] or 'its form'}")
    return "\n".join(lines)


def _unheard(_: Event) -> None:
    """Nobody listens: the command prints for itself."""
