"""A short campaign about money on Apache Kafka: kills where they may cost, and a budget that runs out."""

import os
from pathlib import Path

import pytest
from support.money_campaign import Plan, run_campaign
from support.money_gateway import Shares

SEED = int(os.environ.get("MONEY_SEED", "20262"))


@pytest.mark.kafka
@pytest.mark.timeout(900)
async def test_what_is_spent_under_kills_is_exact(tmp_path: Path) -> None:
    """What `make money` does with a thousand solves and hundreds of kills, with dozens (M1, M3, M8, M9)."""
    plan = Plan(
        seed=SEED,
        jobs=70,
        affordable=60,
        wanted=5,
        per_second=10.0,
        every_s=6.0,
        shares=Shares(before=0.06, after=0.2),
        session_s=2.0,
        settle_s=480.0,
    )
    result = await run_campaign(plan, tmp_path, print)
    print(result.report)  # noqa: T201 -- the figures belong in the log of the run
    assert not result.problems, f"seed {SEED}: {result.problems}"
