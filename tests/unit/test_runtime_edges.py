"""What surrounds the runtime: errors and their exit codes, and a library's log lines."""

import logging

import pytest
from tidegate.errors import BrokerError, ConfigurationError, TidegateError, cause_of
from tidegate.log_limit import RepeatLimit


@pytest.mark.parametrize(
    ("errors", "cause"),
    [
        ([KeyError("k")], KeyError),
        ([KeyError("k"), BrokerError("b")], BrokerError),
        ([BrokerError("b"), ConfigurationError("c")], ConfigurationError),
        ([ExceptionGroup("inner", [KeyError("k"), ConfigurationError("c")])], ConfigurationError),
    ],
)
def test_the_cause_is_what_a_person_can_mend(errors: list[Exception], cause: type[Exception]) -> None:
    """A configuration error before another of ours, ours before the rest, however deep."""
    assert type(cause_of(ExceptionGroup("outer", errors))) is cause
    assert type(cause_of(errors[-1] if len(errors) == 1 else cause("alone"))) is cause


def test_an_error_by_itself_is_its_own_cause() -> None:
    """Nothing is wrapped where nothing failed beside it."""
    error = TidegateError("alone")
    assert cause_of(error) is error


def _line(created: float, message: str = "Heartbeat failed: %s", name: str = "aiokafka") -> logging.LogRecord:
    record = logging.LogRecord(name, logging.ERROR, "f.py", 1, message, ("x",), None)
    record.created = created
    return record


def test_a_library_says_the_same_thing_five_times_a_minute() -> None:
    """The rest is counted, and the count told with the next line that passes."""
    limit = RepeatLimit()
    assert [limit.filter(_line(n / 10)) for n in range(8)] == [True] * 5 + [False] * 3
    assert limit.filter(_line(0.9, "something else"))
    assert limit.filter(_line(0.9, name="asyncio"))
    later = _line(61.0)
    assert limit.filter(later)
    assert later.__dict__["suppressed"] == 3


def test_what_differs_in_numbers_alone_is_the_same_thing() -> None:
    """Ports and node ids do not make a message another one, and many messages take no memory."""
    limit = RepeatLimit()
    assert sum(limit.filter(_line(1.0, f"node {n} is gone")) for n in range(50)) == 5
    for n in range(5_000):
        limit.filter(_line(1.0, "x" + chr(0x4E00 + n)))
    assert len(limit._seen) <= 512
