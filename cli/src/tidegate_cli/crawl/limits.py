"""How much the embedded broker is asked to hold. Pure.

It keeps every record in memory until it ends: a larger crawl belongs on a broker with a disk, and is refused
before anything is started rather than halfway through.
"""

from tidegate.errors import ConfigurationError

from tidegate_cli.crawl.source import Size

MAX_JOBS = 200_000
MAX_BYTES = 512 << 20
MAX_HELD_BYTES = 8 << 30


def exceeds(size: Size) -> bool:
    """Tell whether an input is beyond the embedded broker's stated size."""
    return size.jobs > MAX_JOBS or size.bytes > MAX_BYTES


def too_full(held_bytes: int, memory_bytes: int) -> str | None:
    """Return why a crawl must end, for an embedded broker of that size on a machine of that memory.

    Jobs can be counted beforehand, pages cannot: this stops before the machine does.
    """
    limit = min(MAX_HELD_BYTES, memory_bytes // 2)
    if held_bytes <= limit:
        return None
    return (
        f"The embedded broker holds {held_bytes / 2**30:.1f} GB in memory, more than {limit / 2**30:.1f} GB: "
        "the pages of this crawl belong on a real broker (--broker kafka, or TIDEGATE_KAFKA__BOOTSTRAP)."
    )


def refuse_beyond(size: Size) -> None:
    """Raise ConfigurationError, with the way to a real broker, for an input that is too large."""
    if exceeds(size):
        raise ConfigurationError(
            f"This crawl is beyond the embedded broker, which keeps everything in memory: it takes at most "
            f"{MAX_JOBS:,} jobs or {MAX_BYTES >> 20} MB of them. Give a real broker: --broker kafka starts "
            f"Apache Kafka here (needs Java 17 and Maven), TIDEGATE_KAFKA__BOOTSTRAP=host:9092 uses one that "
            "runs."
        )
