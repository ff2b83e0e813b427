"""The work of ``tidegate topics``, with everything heavy imported."""

from rich.console import Console
from rich.table import Table
from tidegate.errors import ConfigurationError
from tidegate.kafka_admin import apply_topics, check_topics
from tidegate.settings import Settings, load
from tidegate.topic_plan import TopicAction

from tidegate_cli.exits import Exit


async def topics_main(*, check: bool, mend: bool) -> int:
    """Create, compare or mend the topics; return 6 where something is left to do."""
    if check and mend:
        raise ConfigurationError("--check changes nothing and --mend does: leave one out")
    settings = load(Settings)
    results = await (check_topics(settings) if check else apply_topics(settings, mend=mend))
    table = Table.grid(padding=(0, 2))
    for result in results:
        different = "; ".join(f"{d.setting} is {d.found}, not {d.wanted}" for d in result.differences)
        table.add_row(result.name, str(result.action), different)
    Console(soft_wrap=True).print(table, highlight=False)
    amiss = any(result.action in (TopicAction.DIFFERS, TopicAction.MISSING) for result in results)
    return Exit.CHECK_FAILED if check and amiss else Exit.OK
