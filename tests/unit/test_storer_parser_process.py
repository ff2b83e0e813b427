"""What the storer makes of what a parser's process says, or does not say."""

import asyncio
import time

import msgspec
import pytest
from tidegate_storer import parser_process
from tidegate_storer.parsed import Parsed
from tidegate_storer.parser_process import Page, ParserProcess, Stop
from tidegate_storer.parser_worker import LENGTH, LENGTHS, Answer, Failure, Task
from tidegate_storer.parsers import PageInfo

TASK = Task("default", PageInfo(url="https://a.example/"))


class Wire(asyncio.Transport):
    """Keeps what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def writelines(self, pieces: object) -> None:
        """Take it."""
        self.sent += b"".join(pieces)  # type: ignore[arg-type]


def frame(answer: Answer) -> bytes:
    """Return an answer as a process sends it."""
    data = msgspec.msgpack.encode(answer)
    return LENGTH.pack(len(data)) + data


def titled(title: str) -> Answer:
    """Return an answer with a title."""
    return Answer(parsed=Parsed(title=title))


class Talk:
    """A process without a process: two pages are with it."""

    def __init__(self, timeout_s: float = 5.0) -> None:
        self.wire = Wire()
        self.answers: list[Answer] = []
        self.process = ParserProcess()
        self.process.connection_made(self.wire)
        pages = [Page(TASK, b"one"), Page(TASK, b"two!")]
        work = self.process.work(pages, self.answers.append, timeout_s)
        self.work = asyncio.ensure_future(work)


async def test_pages_go_out_with_their_bodies_and_answers_come_in_any_pieces() -> None:
    """Bodies are sent as they are; an answer is settled as soon as it is whole."""
    talk = Talk()
    await asyncio.sleep(0)  # noqa: TID251 -- a turn of the loop
    length, size = LENGTHS.unpack_from(talk.wire.sent)
    assert msgspec.msgpack.decode(talk.wire.sent[8 : 8 + length], type=Task) == TASK
    assert talk.wire.sent[8 + length : 8 + length + size] == b"one"
    assert talk.wire.sent.endswith(b"two!")
    came = frame(titled("first")) + frame(titled("second"))
    for number in range(len(came)):
        talk.process.data_received(came[number : number + 1])
    assert await talk.work is None
    assert talk.answers == [titled("first"), titled("second")]


@pytest.mark.parametrize(
    ("came", "stop"),
    [
        (frame(Answer(failure=Failure("m", out_of_memory=True))), Stop.OUT_OF_MEMORY),
        (LENGTH.pack(3) + b"\xc1\xc1\xc1", Stop.DIED),
        (LENGTH.pack(2**32 - 1), Stop.DIED),
    ],
)
async def test_a_process_that_says_anything_else_is_stopped_at_that_page(came: bytes, stop: Stop) -> None:
    """A parser may write onto the wire itself; nothing of it is believed, and nothing grows (C10)."""
    talk = Talk()
    await asyncio.sleep(0)  # noqa: TID251 -- a turn of the loop
    talk.process.data_received(frame(titled("first")) + came)
    assert await talk.work is stop
    assert talk.answers == [titled("first")]


async def test_a_process_that_goes_away_says_which_page_it_had() -> None:
    """Also when it went before it was asked."""
    talk = Talk()
    await asyncio.sleep(0)  # noqa: TID251 -- a turn of the loop
    talk.process.data_received(frame(titled("first")))
    talk.process.connection_lost(None)
    assert await talk.work is Stop.DIED
    assert len(talk.answers) == 1
    assert await talk.process.work([Page(TASK, b"")], talk.answers.append, 5.0) is Stop.DIED


async def test_each_page_has_its_own_time() -> None:
    """The second's begins when the first is answered."""
    talk = Talk(timeout_s=0.004)
    loop = asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(0.002, talk.process.data_received, frame(titled("first")))
    assert await talk.work is Stop.TOO_SLOW
    assert loop.time() - began >= 0.006
    assert len(talk.answers) == 1


async def test_a_page_is_not_condemned_because_the_storer_stood_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that was stopped and continued finds its timer run out and the answer unread (C10)."""
    monkeypatch.setattr(parser_process, "_STOOD_STILL_S", 0.002)
    talk = Talk(timeout_s=0.004)
    await asyncio.sleep(0)  # noqa: TID251 -- a turn of the loop
    time.sleep(0.008)  # noqa: ASYNC251 -- the whole process stands still
    await asyncio.sleep(0)  # noqa: TID251 -- the timer comes first
    talk.process.data_received(frame(titled("first")) + frame(titled("second")))
    assert await talk.work is None
