"""What the supervisor says happened, for a progress display or a log."""

from typing import ClassVar

from tidegate.events import Event


class ProcessStarting(Event, frozen=True, kw_only=True):
    """A child process was started; ``pid`` is its process id."""

    name: str
    pid: int


class ProcessReady(Event, frozen=True, kw_only=True):
    """A child answered its readiness check, ``seconds`` after it was started."""

    name: str
    seconds: float


class ProcessDied(Event, frozen=True, kw_only=True):
    """A child ended that should not have; ``exit_code`` is negative for a signal, as in subprocess."""

    level: ClassVar[str] = "error"

    name: str
    exit_code: int
    log_tail: str


class ProcessRestarting(Event, frozen=True, kw_only=True):
    """A dead child will be started again after ``delay_s``; ``attempt`` counts from 1."""

    level: ClassVar[str] = "warning"

    name: str
    attempt: int
    delay_s: float


class ProcessStopped(Event, frozen=True, kw_only=True):
    """A child was stopped on purpose; ``killed`` when it had to be, after its deadline."""

    name: str
    exit_code: int
    seconds: float
    killed: bool


class StepDone(Event, frozen=True, kw_only=True):
    """A step between processes is done, such as creating the topics."""

    name: str
    seconds: float


class TopicDiffers(Event, frozen=True, kw_only=True):
    """An existing topic is not as declared; nothing was changed."""

    level: ClassVar[str] = "warning"

    name: str
    differences: tuple[str, ...]


class StackReady(Event, frozen=True, kw_only=True):
    """Everything that was asked for is up, ``seconds`` after the start; ``monitor_url`` is the live page."""

    seconds: float
    monitor_url: str | None = None


class FetchingKafka(Event, frozen=True, kw_only=True):
    """Apache Kafka's jars are being fetched with Maven; it happens once."""

    version: str
    folder: str
