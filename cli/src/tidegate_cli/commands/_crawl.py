"""The work of ``tidegate crawl``, with everything heavy imported."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.console import Console
from tidegate.clock import Clock, SystemClock
from tidegate.errors import ConfigurationError
from tidegate.settings import PREFIX, Settings, load

from tidegate_cli.commands._execute import Place
from tidegate_cli.commands._names import run_name
from tidegate_cli.crawl.display import Display
from tidegate_cli.crawl.progress import Patience
from tidegate_cli.crawl.report import Report
from tidegate_cli.crawl.session import CrawlOptions, crawl, folder_name, service_env
from tidegate_cli.crawl.source import sources_of
from tidegate_cli.crawl.summary import show
from tidegate_cli.installation import by_address, new_data_dir
from tidegate_cli.runs.amounts import usd
from tidegate_cli.stack.options import StackOptions


class CrawlArguments(msgspec.Struct, frozen=True, kw_only=True):
    """The command line of ``crawl``, parsed; times in seconds."""

    inputs: tuple[str, ...]
    run: str | None
    data: Path | None
    solve: tuple[str, ...]
    budget: str | None
    allow_private: bool
    broker: str | None
    as_json: bool
    keep: bool
    max_dead_share: float
    timeout_s: float | None
    stall_timeout_s: float


async def crawl_main(arguments: CrawlArguments, place: Place) -> int:
    """Check the arguments, crawl, and return the exit code."""
    clock = SystemClock()
    since_start_s = clock.monotonic() - place.started_s
    sources = sources_of(arguments.inputs)
    run = checked_run(arguments.run) if arguments.run is not None else run_name("crawl")
    solve = checked_hosts(arguments.solve)
    budget = None if arguments.budget is None else usd("--budget", arguments.budget)
    load(Settings)
    bootstrap, clickhouse_url = by_address()
    broker = choose_broker(arguments.broker, bootstrap)
    services = choose_services(solve, os.environ)
    place.data = data_dir(arguments.data, run)
    stack = StackOptions(
        data_dir=place.data,
        broker=broker,
        clickhouse_url=clickhouse_url,
        services=services,
        env=service_env(allow_private=arguments.allow_private, solve=solve, environment=os.environ),
    )
    options = CrawlOptions(
        run=run,
        stack=stack,
        sources=sources,
        budget=budget,
        keep=arguments.keep,
        patience=Patience(timeout_s=arguments.timeout_s, stall_timeout_s=arguments.stall_timeout_s),
        since_start_s=since_start_s,
    )
    return await run_crawl(
        options, clock, place, as_json=arguments.as_json, max_dead_share=arguments.max_dead_share
    )


async def run_crawl(
    options: CrawlOptions, clock: Clock, place: Place, *, as_json: bool, max_dead_share: float
) -> int:
    """Crawl with a display, print the report, and return its exit code."""
    console = Console(stderr=True)

    def print_report(report: Report) -> None:
        # From here on Ctrl-C is the way to end a stack that is kept, and the result stands.
        place.when_interrupted = report.exit_code(max_dead_share)
        if as_json:
            print(report.to_json(), flush=True)  # noqa: T201 -- the report is the command's output
            return
        show(report, Console(), max_dead_share=max_dead_share, hints=query_hints(options, report))

    with Display(console, clock) as display:
        report = await crawl(options, display, clock, print_report)
    return report.exit_code(max_dead_share)


def query_hints(options: CrawlOptions, report: Report) -> tuple[str, ...]:
    """Return commands that show rows of this run."""
    folder, address = options.stack.data_dir, options.stack.clickhouse_url
    where = "" if address else f" --data {shlex.quote(str(folder))}"
    # A folder that was made for this run holds nothing else.
    alone = not address and folder.name == folder_name(options.run)
    run = options.run.replace("'", "\\'")
    only = "" if alone else f" WHERE run = '{run}'"
    looks = (
        (report.pages, "url, status, title FROM pages"),
        (report.dead_letters, "url, reason, message FROM dead_letters"),
    )
    command = shlex.quote(_own_name())
    return tuple(f'{command} sql{where} "SELECT {look}{only} LIMIT 10"' for count, look in looks if count)


def _own_name() -> str:
    """Return what a shell finds this command by: `make demo` runs it where nothing is activated yet."""
    own = Path(sys.executable).with_name("tidegate")
    if shutil.which("tidegate") or not own.exists():
        return "tidegate"
    here = Path.cwd()
    return str(own.relative_to(here) if own.is_relative_to(here) else own)


def choose_services(
    solve: tuple[str, ...], environment: Mapping[str, str], *, simulated: bool = False
) -> tuple[tuple[str, int], ...]:
    """Return the services to start: the solver only where solving is allowed somewhere.

    Raises ConfigurationError where it is, and no account at a solving service is known.
    """
    if not solve and not environment.get(f"{PREFIX}FETCHER__SOLVE_HOSTS"):
        return (("fetcher", 1), ("storer", 1), ("monitor", 1))
    keys = (f"{PREFIX}SOLVER__API_KEY", f"{PREFIX}SOLVER__API_KEY_FILE")
    if not simulated and not any(environment.get(key) for key in keys):
        raise ConfigurationError(
            f"Solving needs an account at a solving service: set {keys[0]} (and {PREFIX}SOLVER__PROVIDER). "
            "To try it without one, run `tidegate simulator`, which says what to set."
        )
    return (("fetcher", 1), ("solver", 1), ("storer", 1), ("monitor", 1))


def choose_broker(chosen: str | None, bootstrap: str | None) -> str:
    """Return the stack's broker: what was chosen, else the environment's, else the embedded one."""
    if chosen is None:
        return bootstrap or "embedded"
    if chosen not in ("embedded", "kafka"):
        raise ConfigurationError(f"--broker is embedded or kafka, not {chosen!r}.")
    if bootstrap is not None:
        raise ConfigurationError(
            f"--broker {chosen} starts a broker, but TIDEGATE_KAFKA__BOOTSTRAP={bootstrap} names one:"
            " leave one out."
        )
    return chosen


def data_dir(given: Path | None, run: str) -> Path:
    """Return the folder for results and logs, made if it is missing."""
    if given is None:
        return new_data_dir(folder_name(run))
    try:
        given.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The data folder {given} cannot be made: {error.strerror}") from error
    return given


def checked_run(run: str) -> str:
    """Return a run's name. Raises ConfigurationError for one that could not be asked for."""
    if not run.strip() or len(run) > 200 or not run.isprintable():
        raise ConfigurationError("A run's name has 1 to 200 printable characters.")
    return run


def checked_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Return hosts for --solve, commas split. Raises ConfigurationError for a URL in their place."""
    split = tuple(part.strip() for host in hosts for part in host.split(",") if part.strip())
    for host in split:
        if "/" in host:
            raise ConfigurationError(f"--solve takes a host such as example.com, not {host!r}.")
    return split
