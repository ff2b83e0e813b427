"""Runs the demo with every trace sampled and prints those of a protected page and of its batches as trees."""

import sys
import tempfile
from pathlib import Path

from support.cli import run, sql
from support.otlp import collector, drawn

_PAGES = "60"
_SOLVED = (
    "SELECT page.trace_id AS trace FROM pages AS page "
    "JOIN solves AS solve ON solve.run = page.run AND solve.job_id = page.id "
    "WHERE solve.status = 'solved' AND solve.trace_id = page.trace_id AND solve.kind = 'turnstile' "
    "ORDER BY trace LIMIT 1"
)


def main() -> int:
    """Run, ask the page's row for its trace, print."""
    with tempfile.TemporaryDirectory(prefix="tidegate-trace-") as name, collector() as (endpoint, collected):
        folder = Path(name)
        telemetry = {"OTLP_ENDPOINT": endpoint, "TRACE_RATIO": "1"}
        environment = {f"TIDEGATE_TELEMETRY__{name}": value for name, value in telemetry.items()}
        ran = run(folder, "demo", "--json", "--pages", _PAGES, "--timeout", "80", env=environment)
        if ran.code:
            sys.stderr.write(ran.err)
            return ran.code
        page = sql(folder, folder / ".tidegate" / "latest", _SOLVED)[0]["trace"]
    batches = {trace for span in collected.of_trace(page) for trace, _ in span.links}
    for trace in (page, *sorted(batches)):
        sys.stdout.write(f"{trace}\n{drawn(collected.of_trace(trace))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
