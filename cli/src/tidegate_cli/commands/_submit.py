"""The work of ``tidegate submit``, with everything heavy imported."""

import json
from pathlib import Path

from rich.console import Console
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError
from tidegate.records import Lane

from tidegate_cli.commands._crawl import checked_run
from tidegate_cli.crawl.display import Display
from tidegate_cli.crawl.inputs import Defaults
from tidegate_cli.crawl.source import sources_of
from tidegate_cli.crawl.submission import Submitter, kafka_intake
from tidegate_cli.installation import find


async def submit_main(
    *,
    inputs: tuple[str, ...],
    run: str,
    priority: str | None,
    job_id: str | None,
    data: Path | None,
    as_json: bool,
) -> int:
    """Produce the jobs of all inputs; return 0 once the broker has acknowledged every one."""
    sources = sources_of(inputs)
    if job_id is not None and (len(sources) != 1 or sources[0].path is not None):
        raise ConfigurationError(
            "--id names one job: give one URL with it; in a file each job has its own id."
        )
    installation = find(data)
    if not installation.reachable:
        raise ConfigurationError(
            f"No stack is running on {installation.data}; "
            f"start it with `tidegate up --data {installation.data}`."
        )
    clock = SystemClock()
    defaults = Defaults(
        run=checked_run(run), own_run=True, priority=None if priority is None else Lane(priority), id=job_id
    )
    with Display(Console(stderr=True), clock) as display:
        display.status(f"Submitting to {installation.settings.kafka.bootstrap}")
        async with kafka_intake(installation.settings.kafka, installation.settings.telemetry) as intake:
            tally = await Submitter(
                intake, None, defaults=defaults, clock=clock, report_bad=display.bad_line
            ).run(sources)
    if as_json:
        print(json.dumps({"run": run, "submitted": tally.records, "bad_lines": tally.bad_lines}))  # noqa: T201 -- the output
    else:
        bad = f", {tally.bad_lines:,} of them no job: see dead_letters" if tally.bad_lines else ""
        print(f"Submitted {tally.records:,} to the run {run}{bad}.")  # noqa: T201 -- the output
    return 0
