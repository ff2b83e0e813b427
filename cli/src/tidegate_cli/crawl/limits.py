"""How much the embedded broker is asked to hold. Pure.

It keeps every record in memory until it ends: a larger crawl belongs on a broker with a disk, and is refused
before anything is started rather than halfway through.
"""

from tidegate.errors import ConfigurationError

from tidegate_cli.crawl.source import Size

MAX_JOBS = 200_000
MAX_BYTES = 512 << 20


def exceeds(size: Size) -> bool:
    """Tell whether an input is beyond the embedded broker's stated size."""
    return size.jobs > MAX_JOBS or size.bytes > MAX_BYTES


def refuse_beyond(size: Size) -> None:
    """Raise ConfigurationError, with the way to a real broker, for an input that is too large."""
    if exceeds(size):
        raise ConfigurationError(
            f"This crawl is beyond the embedded broker, which keeps everything in memory: it takes at most "
            f"{MAX_JOBS:,} jobs or {MAX_BYTES >> 20} MB of them. Give a real broker: --broker kafka starts "
            f"Apache Kafka here (needs Java 17 and Maven), TIDEGATE_KAFKA__BOOTSTRAP=host:9092 uses one that "
            "runs."
        )
