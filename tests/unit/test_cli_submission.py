"""Submission: bounded, noted before it is sent, and honest about refusals."""

import asyncio
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError
from tidegate.clock import SystemClock
from tidegate.errors import BrokerError, ConfigurationError
from tidegate_cli.crawl.inputs import Defaults, Submission
from tidegate_cli.crawl.ledger import Ledger
from tidegate_cli.crawl.source import Source, sources_of
from tidegate_cli.crawl.submission import BadLine, Submitter


class FakeIntake:
    """Acknowledges everything but the ``fail_at``-th record."""

    def __init__(self, ledger: Ledger, *, fail_at: int | None = None) -> None:
        self.sent: list[Submission] = []
        self.unacked = 0
        self.most_unacked = 0
        self.noted_before = True
        self._ledger = ledger
        self._fail_at = fail_at

    async def send(self, submission: Submission) -> "asyncio.Future[None]":
        """Take a record; its acknowledgement comes with the loop's next turn."""
        self.noted_before &= self._ledger.submit([submission.id]) == 0
        self.sent.append(submission)
        self.unacked += 1
        self.most_unacked = max(self.most_unacked, self.unacked)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._fail_at == len(self.sent):
            future.set_exception(KafkaError("no"))
        else:
            asyncio.get_running_loop().call_soon(self._acknowledge, future)
        return future

    def _acknowledge(self, future: "asyncio.Future[None]") -> None:
        self.unacked -= 1
        future.set_result(None)


def _source(tmp_path: Path, text: str) -> tuple[Source, ...]:
    file = tmp_path / "urls.txt"
    file.write_text(text)
    return (Source("urls.txt", file),)


async def test_ids_are_noted_before_their_records_are_sent(tmp_path: Path) -> None:
    """A kill in between leaves a job that looks lost, never an outcome that nobody can explain."""
    with Ledger(tmp_path / "ids") as ledger:
        intake = FakeIntake(ledger)
        bad: list[BadLine] = []
        submitter = Submitter(
            intake, ledger, defaults=Defaults(run="r"), clock=SystemClock(), report_bad=bad.append
        )
        text = "# list\nhttps://a.example/\n\nno url\n" + '{"url":"https://a.example/","id":"x"}\n' * 2
        tally = await submitter.run(_source(tmp_path, text))
    assert intake.noted_before
    assert (tally.records, tally.submitted, tally.bad_lines) == (4, 3, 1)
    assert [(line.place, line.beginning) for line in bad] == [("urls.txt:4", "no url")]
    assert [submission.site for submission in intake.sent] == ["a.example", "", "a.example", "a.example"]


async def test_what_is_unacknowledged_is_bounded(tmp_path: Path) -> None:
    """A million lines are never in memory: the source is held back."""
    with Ledger(tmp_path / "ids") as ledger:
        intake = FakeIntake(ledger)
        submitter = Submitter(
            intake, None, defaults=Defaults(run="r"), clock=SystemClock(), report_bad=lambda _: None
        )
        text = "".join(f"https://a.example/{n}\n" for n in range(3000))
        tally = await submitter.run(_source(tmp_path, text))
    assert tally.records == 3000
    assert intake.most_unacked <= 2000


async def test_a_refused_record_ends_the_submission_with_a_sentence(tmp_path: Path) -> None:
    """What the broker did not take is not silently left out."""
    with Ledger(tmp_path / "ids") as ledger:
        submitter = Submitter(
            FakeIntake(ledger, fail_at=2),
            None,
            defaults=Defaults(run="r"),
            clock=SystemClock(),
            report_bad=lambda _: None,
        )
        with pytest.raises(BrokerError, match="did not take a job"):
            await submitter.run(_source(tmp_path, "https://a.example/\n" * 3))


async def test_a_file_that_cannot_be_read_is_the_users_error(tmp_path: Path) -> None:
    """The reading happens in a thread; its error arrives where the submission is awaited."""
    sources = _source(tmp_path, "https://a.example/\n")
    (tmp_path / "urls.txt").unlink()
    with Ledger(tmp_path / "ids") as ledger:
        submitter = Submitter(
            FakeIntake(ledger),
            ledger,
            defaults=Defaults(run="r"),
            clock=SystemClock(),
            report_bad=lambda _: None,
        )
        with pytest.raises(ConfigurationError, match="cannot be read"):
            await submitter.run(sources)


def test_urls_and_files_may_be_mixed(tmp_path: Path) -> None:
    """The position counts over all of them."""
    file = tmp_path / "urls.txt"
    file.write_text("https://a.example/\n")
    assert len(sources_of([str(file), "https://b.example/"])) == 2
