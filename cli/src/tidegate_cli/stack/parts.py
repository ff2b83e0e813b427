"""The commands and environments of the stack's own children, the brokers aside."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tidegate.settings import PREFIX

from tidegate_cli.stack.environment import plain_environment
from tidegate_cli.stack.kafka_jars import cache_folder
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.ports import HOST
from tidegate_cli.stack.probes import HttpReady, LineReady
from tidegate_cli.stack.processes import ProcessSpec

_VENDOR = "capmonster"
# Pages of the demo site behind each kind beside the common three.
_GUARDED = "2"

# The simulated service answers within a second or so; polling it like a real one would only add waiting.
_SIMULATED = {
    # A vendor that sells every kind of the demo site.
    "SOLVER__PROVIDER": _VENDOR,
    "SOLVER__API_KEY": "simulated",
    "SOLVER__POLL_FIRST_DELAY_S": "0.2",
    "SOLVER__POLL_INTERVAL_S": "0.2",
}


def clickhouse_spec(options: StackOptions, data: Path, port: int) -> ProcessSpec:
    """Describe the ClickHouse-HTTP endpoint; its data is on disk, so it may be revived."""
    return _python(options, "clickhouse", "tidegate_cli.clickhouse", "--data", str(data), "--port", str(port))


def simulator_spec(options: StackOptions, data: Path, port: int) -> ProcessSpec:
    """Describe the simulated solving service."""
    return _python(options, "simulator", "tidegate_cli.simulator", "--port", str(port), "--data", str(data))


def demo_spec(options: StackOptions, port: int, simulator_url: str | None, proxy: str | None) -> ProcessSpec:
    """Describe the demo site; it asks the simulated service whether a token is good."""
    checks = () if simulator_url is None else ("--simulator", simulator_url)
    cache = _demo_cache()
    keeps = () if cache is None else ("--cache", str(cache))
    whole = () if proxy is None else ("--proxy", proxy, "--pictures")
    arguments = ("--port", str(port), "--guarded", _GUARDED, *checks, *keeps, *whole)
    return _python(options, "demo-site", "tidegate_cli.demo_site", *arguments)


def _demo_cache() -> Path | None:
    """Return where rendered pages are kept between demos; None where nothing can be kept."""
    folder = cache_folder().with_name("demo-site")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def migrate_spec(options: StackOptions, env: Mapping[str, str]) -> ProcessSpec:
    """Describe the one-shot that brings ClickHouse's schema up to date."""
    return ProcessSpec(
        name="migrate",
        command=(sys.executable, "-m", "tidegate_storer", "migrate"),
        env={**plain_environment(), **env},
        start_timeout_s=options.start_timeout_s,
    )


def service_spec(
    options: StackOptions,
    service: str,
    name: str,
    *,
    env: Mapping[str, str],
    health_port: int,
    after: tuple[str, ...],
) -> ProcessSpec:
    """Describe one instance of a service; ready when its probe says so."""
    health = {f"{PREFIX}HEALTH__HOST": HOST, f"{PREFIX}HEALTH__PORT": str(health_port)}
    return ProcessSpec(
        name=name,
        command=(sys.executable, "-m", f"tidegate_{service}"),
        env={**plain_environment(), **env, **health},
        ready=HttpReady(f"http://{HOST}:{health_port}/ready"),
        after=after,
        start_timeout_s=options.start_timeout_s,
        stop_timeout_s=options.stop_timeout_s,
    )


def simulator_settings(url: str) -> dict[str, str]:
    """Return the solver's settings for the simulated service."""
    return {
        f"{PREFIX}{key}": value
        for key, value in {**_SIMULATED, "SOLVER__BASE_URL": f"{url}/{_VENDOR}"}.items()
    }


def demo_settings(proxy: str, folder: Path) -> dict[str, str]:
    """Write what is needed for all kinds of the demo site into a folder, and return the settings that say so.

    Everything goes through the proxy, and the site's pictures are known.
    """
    listed, policy = folder / "demo-proxies", folder / "demo-policy.toml"
    listed.write_text(f"{proxy}\n")
    policy.write_text(f'[[host]]\nmatch = ["{HOST}"]\nimage = {{selector = "img#captcha", field = "code"}}\n')
    return {
        f"{PREFIX}FETCHER__POLICY_FILE": str(policy),
        f"{PREFIX}FETCHER__PROXIES_FILE": str(listed),
        f"{PREFIX}SOLVER__PROXIES": proxy,
    }


def instances(services: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str], ...]:
    """Return (service, name of instance): the first of a kind has its name, then ``fetcher-2`` and so on."""
    return tuple(
        (service, service if number == 1 else f"{service}-{number}")
        for service, count in services
        for number in range(1, count + 1)
    )


def _python(options: StackOptions, name: str, module: str, *arguments: str) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        command=(sys.executable, "-m", module, *arguments),
        env=plain_environment(),
        ready=LineReady("port"),
        start_timeout_s=options.start_timeout_s,
        stop_timeout_s=options.stop_timeout_s,
    )
