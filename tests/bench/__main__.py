"""``make bench``: measure the rows, compare with the last run, write the document and the figures.

``PYTHONPATH=tests python -m bench [--rows runtime,fetcher] [--repetitions 3] [--minutes 9]``. Every row is
measured once, then again for as long as the minutes last. The figures are kept in ``docs/benchmarks.json``,
and the next run says of each whether it became better or worse. Exit code 1 where a figure misses what it
must or a row could not be measured.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
import timeit
import zlib
from pathlib import Path

import msgspec
import psutil
from bench import row_demo, row_fetcher, row_runtime, row_solver, row_storer, row_telemetry
from bench.report import Machine, Row, Run, compared, figures, merged, paced, page
from bench.rig import rig

ROWS = {
    module.SPEC.name: module
    for module in (row_runtime, row_fetcher, row_telemetry, row_storer, row_solver, row_demo)
}
_DOCS = Path(__file__).parents[2] / "docs"


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def reference_ms() -> float:
    """Return the CPU time of a fixed piece of work, the least of some: parsing, hashing, sorting."""
    text = json.dumps([{"number": number, "name": f"name-{number}"} for number in range(2_000)])

    def work() -> None:
        rows = json.loads(text)
        rows.sort(key=lambda row: row["name"])
        hashlib.blake2b(text.encode()).hexdigest()
        zlib.compress(text.encode(), 1)

    return min(timeit.repeat(work, timer=time.process_time, repeat=20, number=1)) * 1000


def machine() -> Machine:
    """Describe this machine in words that fit any, as it is now."""
    return Machine(
        cores=os.cpu_count() or 0,
        memory_gib=round(psutil.virtual_memory().total / (1 << 30)),
        python=platform.python_version(),
        system=platform.system(),
        load=round(psutil.getloadavg()[0], 1),
        reference_ms=round(reference_ms(), 2),
    )


def read(path: Path) -> Run | None:
    """Return the earlier run; None where there is none, or another form of it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Run)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


async def measured(names: list[str], repetitions: int, minutes: float, folder: Path) -> list[Row]:
    """Measure rows by name: all of them once, then again while there is time for as long as it took."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    took: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    until = loop.time() + minutes * 60
    async with rig(folder, say) as ground:
        for number in range(repetitions):
            for name in names:
                began = loop.time()
                if number and began + took[name] > until:
                    continue
                try:
                    sample = await ROWS[name].measure(ground)
                except Exception as error:  # noqa: BLE001 -- costs the other rows nothing of their figures
                    took[name] = loop.time() - began
                    say(f"{name} {number + 1}/{repetitions} was not measured, {took[name]:.0f} s: {error!r}")
                    continue
                took[name] = loop.time() - began
                found[name].append(sample)
                values = ", ".join(f"{key} {value:.4g}" for key, value in sample.items())
                say(f"{name} {number + 1}/{repetitions}, {took[name]:.0f} s: {values}")
        brokers = {name: "embedded" if name == "demo" else ground.broker for name in names}
    return [
        Row(ROWS[name].SPEC, brokers[name], figures(ROWS[name].SPEC, samples))
        for name, samples in found.items()
        if samples
    ]


def main() -> int:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", default="", help=f"comma-separated, of {', '.join(ROWS)}; empty means all")
    parser.add_argument("--repetitions", type=int, default=3, help="of each row; the median counts")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no row is measured again")
    parser.add_argument("--docs", type=Path, default=_DOCS, help="where benchmarks.md and .json are written")
    arguments = parser.parse_args()
    names = [name for name in arguments.rows.split(",") if name] or list(ROWS)
    if unknown := set(names) - set(ROWS):
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    figures_file = arguments.docs / "benchmarks.json"
    before, here = read(figures_file), machine()
    for line in paced(before, here):
        say(line)
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    try:
        rows = asyncio.run(measured(names, arguments.repetitions, arguments.minutes, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for line in compared(before, rows):
        say(line)
    run = merged(before, here, rows)
    run = msgspec.structs.replace(run, rows={name: run.rows[name] for name in ROWS if name in run.rows})
    figures_file.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
    (arguments.docs / "benchmarks.md").write_text(page(run), encoding="utf-8")
    missed = any(figure.verdict == "missed" for row in rows for figure in row.figures)
    return 1 if missed or len(rows) < len(names) else 0


if __name__ == "__main__":
    sys.exit(main())
