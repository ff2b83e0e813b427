"""A service whose process dies of some records, to be run as ``python -m support.poison_service``.

What begins with ``poison`` ends the process in the middle of its handler, as a segmentation fault does.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.runtime import ScriptedService, state_of
from tidegate.consume.plan import Plan
from tidegate.consume.service import Service, Work
from tidegate.outcome import Done, Outcome, Outgoing
from tidegate.process import Context, main
from tidegate.records import job_headers
from tidegate.settings import Settings
from tidegate.topics import Topic

PLAN = Plan(group="poisoned", topics=(Topic.URLS,))


async def handle(work: Work[bytes]) -> Outcome:
    """Make a page, or die."""
    if work.payload.startswith(b"poison"):
        os._exit(9)
    state = state_of(work.record)
    return Done(
        (Outgoing(topic=Topic.PAGES, site=state.site, value=work.payload, headers=job_headers(state)),)
    )


@asynccontextmanager
async def build(_context: Context[Settings]) -> AsyncIterator[Service[bytes]]:
    """Build the service."""
    yield ScriptedService(handle)


if __name__ == "__main__":
    sys.exit(main("poisoned", Settings, PLAN, build))
