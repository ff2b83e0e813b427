"""The runtime keeps custody: whatever is killed whenever, no job is without a record or an outcome."""

from hypothesis import given, settings
from hypothesis import strategies as st
from support.custody import ENDS, FAULTS, STEPS, Fault, Script, World
from support.virtual_time import virtually
from tidegate.records import Lane

SCRIPTS = st.builds(
    Script,
    st.sampled_from(Lane),
    st.lists(st.sampled_from(STEPS), max_size=4).map(tuple),
    st.sampled_from(ENDS),
    st.sampled_from([0.0, 0.05, 1.0, 3.0]),
)
FAULT = st.builds(
    Fault, st.sampled_from([0.0, 0.3, 1.1, 2.5, 6.0]), st.sampled_from(FAULTS), st.integers(0, 2)
)


async def live(world: World, faults: list[Fault], members: int) -> None:
    """Let everything happen, heal, and judge."""
    for _ in range(members):
        world.start()
    for fault in faults:
        await world.befall(fault)
    await world.settle()
    world.judge()


@settings(max_examples=40, deadline=None)
@given(
    scripts=st.lists(SCRIPTS, min_size=1, max_size=10),
    faults=st.lists(FAULT, max_size=8),
    members=st.integers(1, 3),
    ack_s=st.sampled_from([0.0, 0.02, 0.6]),
    keeps_metadata=st.booleans(),
)
def test_every_job_is_in_custody_at_every_commit_and_ends_as_it_must(
    scripts: list[Script], faults: list[Fault], members: int, ack_s: float, *, keeps_metadata: bool
) -> None:
    """C1, C5, C7, T2: kills, rebalances and refused commits at any moment lose, alter and hurry nothing."""

    async def main() -> None:
        world = World(scripts, ack_s=ack_s, keeps_metadata=keeps_metadata)
        await live(world, faults, members)

    virtually(main())


@settings(max_examples=5, deadline=None)
@given(faults=st.lists(FAULT, max_size=4), slow=SCRIPTS)
def test_a_backlog_is_worked_off_within_bounds(faults: list[Fault], slow: Script) -> None:
    """C8: what is in hand and what waits stay bounded beside hundreds of jobs, and none is dropped."""

    async def main() -> None:
        await live(World([slow] * 3, ack_s=0.02, backlog=600), faults, 2)

    virtually(main())
