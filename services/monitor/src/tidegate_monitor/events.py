"""What the monitor says happened."""

from typing import ClassVar

from tidegate.events import Event


class AlertFired(Event, frozen=True):
    """An alert fired; ``value`` is what of ``sample``, and ``action`` what to do."""

    level: ClassVar[str] = "warning"

    rule: str
    subject: str
    severity: str
    value: float
    sample: float
    summary: str
    action: str


class AlertCleared(Event, frozen=True):
    """An alert is over; it fired for ``seconds``."""

    rule: str
    subject: str
    severity: str
    value: float
    seconds: float


class AlertsFiring(Event, frozen=True):
    """How many subjects of a rule fire; told when it changes."""

    level: ClassVar[str] = "debug"

    rule: str
    subjects: int


class MonitorCaughtUp(Event, frozen=True):
    """What was told in the last quarter of an hour has been read; ``seconds`` since the start."""

    records: int
    seconds: float


class StatsRefused(Event, frozen=True):
    """A record of ``stats`` is none, or of a newer version; it counts nothing. Told once."""

    level: ClassVar[str] = "warning"

    offset: int


class StatsInterrupted(Event, frozen=True):
    """The topic ``stats`` cannot be read for a moment; the numbers stand still."""

    level: ClassVar[str] = "warning"

    error: str


class LagKnown(Event, frozen=True):
    """How many records of a topic nobody is done with, as every monitor knows it."""

    level: ClassVar[str] = "debug"

    topic: str
    records: int


class LagsUnread(Event, frozen=True):
    """How far the readers are behind cannot be read; told once an outage."""

    level: ClassVar[str] = "warning"

    error: str


class WebhookFailed(Event, frozen=True):
    """An alert could not be posted; ``error`` names no address."""

    level: ClassVar[str] = "warning"

    rule: str
    subject: str
    error: str


class PublishFailed(Event, frozen=True):
    """An alert or a site's health could not be written to its topic."""

    level: ClassVar[str] = "warning"

    topic: str
    error: str


class PageServed(Event, frozen=True):
    """The live page is there."""

    url: str
    guarded: bool
