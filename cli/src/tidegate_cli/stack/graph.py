"""Steps that wait for each other, run side by side wherever they may."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from tidegate.errors import ConfigurationError


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do once every step named in ``after`` is done."""

    name: str
    run: Callable[[], Awaitable[object]]
    after: tuple[str, ...] = ()


def layers(after: dict[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return names in layers, each needing only earlier ones; ConfigurationError for a ring or a stranger."""
    strangers = sorted({need for needs in after.values() for need in needs} - set(after))
    if strangers:
        raise ConfigurationError(f"steps wait for what nobody does: {', '.join(strangers)}")
    done: set[str] = set()
    result = []
    while len(done) < len(after):
        layer = tuple(name for name, needs in after.items() if name not in done and done.issuperset(needs))
        if not layer:
            raise ConfigurationError(f"steps wait for each other: {', '.join(sorted(set(after) - done))}")
        result.append(layer)
        done.update(layer)
    return result


async def run_steps(steps: Sequence[Step]) -> None:
    """Run all steps, each as early as it may; the first failure cancels the rest and is raised."""
    layers({step.name: step.after for step in steps})
    done = {step.name: asyncio.Event() for step in steps}

    async def run(step: Step) -> None:
        for need in step.after:
            await done[need].wait()
        await step.run()
        done[step.name].set()

    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(run(step), name=step.name)
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
