"""A short chaos campaign on Apache Kafka: every service, broker, ClickHouse, solving service and networks."""

import os
from pathlib import Path

import pytest
from support.chaos_campaign import Campaign, run_campaign
from support.chaos_schedule import schedule

SEED = int(os.environ.get("CHAOS_SEED", "20261"))
MINUTES = 0.4


@pytest.mark.kafka
@pytest.mark.timeout(600)
async def test_a_short_campaign_loses_doubles_invents_and_alters_nothing(tmp_path: Path) -> None:
    """What `make chaos` does for minutes, for 24 seconds; the same seed prints and does the same."""
    campaign = Campaign(seed=SEED, minutes=MINUTES, settle_s=360.0)
    result = await run_campaign(campaign, tmp_path, print)
    print(result.report)  # noqa: T201 -- the figures belong in the log of the run
    faults = "\n".join(str(fault) for fault in schedule(SEED, minutes=MINUTES, nodes=campaign.nodes))
    assert not result.problems, f"seed {SEED}: {result.problems}\n{faults}"
