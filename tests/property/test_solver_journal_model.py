"""The journal against a model so simple that it is plainly right, and its log against both."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.solver import (
    PARTITION,
)
from support.virtual_time import EPOCH_MS
from tidegate.captcha_records import SolutionStatus
from tidegate.errors import IllegalTransitionError
from tidegate.records import Inbound
from tidegate_solver.answers import Answer
from tidegate_solver.journal import Journal
from tidegate_solver.journal_log import entry_record, read_entry

KEEP_MS = 10_000_000
IDS = st.sampled_from(["a", "b", "c"])

# What each step may be taken from; the model is a word per request.
LEGAL: dict[str, set[str | None]] = {
    "reserve": {None},
    "void": {"reserved"},
    "task": {"reserved"},
    "answer": {"reserved", "task"},
}
LEADS_TO: dict[str, str | None] = {"reserve": "reserved", "void": None, "task": "task", "answer": "answered"}


class JournalMachine(RuleBasedStateMachine):
    """Takes any step on any request; also writes the log, and reads it back into another journal."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal(keep_ms=KEEP_MS, max_answered=1_000)
        self.model: dict[str, str | None] = {}
        self.log: list[Inbound] = []
        self.now_ms = EPOCH_MS

    @rule(request_id=IDS, step=st.sampled_from(sorted(LEGAL)))
    def take(self, request_id: str, step: str) -> None:
        """A legal step advances; an illegal one raises and changes nothing."""
        self.now_ms += 1
        before = self.journal.get(request_id)
        if self.model.get(request_id) in LEGAL[step]:
            self._do(request_id, step)
            self.model[request_id] = LEADS_TO[step]
            self._write(request_id)
        else:
            with pytest.raises(IllegalTransitionError):
                self._do(request_id, step)
            assert self.journal.get(request_id) == before

    @rule()
    def forget_nothing_that_is_young(self) -> None:
        """Trimming inside the limits drops nothing."""
        assert self.journal.forget(self.now_ms) == (0, 0)

    @rule()
    def restart(self) -> None:
        """What the log says is what there was; compaction changes nothing about it."""
        for log in (self.log, list({record.key: record for record in self.log}.values())):
            restored = Journal(keep_ms=KEEP_MS, max_answered=1_000)
            for record in log:
                restored.restore(*read_entry(record))
            for request_id in self.model:
                known, read = self.journal.get(request_id), restored.get(request_id)
                assert (known is None) == (read is None)
                if known is not None and read is not None:
                    assert (known.state, known.task_id, known.created_at_ms, known.max_cost) == (
                        read.state,
                        read.task_id,
                        read.created_at_ms,
                        read.max_cost,
                    )
                    assert known.answer == read.answer
        self.journal = restored

    @invariant()
    def agrees_with_the_model(self) -> None:
        """State for state."""
        for request_id, state in self.model.items():
            entry = self.journal.get(request_id)
            assert (None if entry is None else entry.state.value) == state
        assert len(self.journal) == sum(state is not None for state in self.model.values())

    def _do(self, request_id: str, step: str) -> None:
        match step:
            case "reserve":
                self.journal.reserve(request_id, provider="p", max_cost=0.003, now_ms=self.now_ms)
            case "void":
                self.journal.void(request_id)
            case "task":
                self.journal.task(request_id, task_id=f"t{self.now_ms}", now_ms=self.now_ms)
            case "answer":
                answer = Answer(
                    status=SolutionStatus.SOLVED,
                    token="t" * 10,
                    cost=0.003,
                    lifetime_s=100_000.0,
                    answered_at_ms=self.now_ms,
                )
                self.journal.answer(request_id, answer)

    def _write(self, request_id: str) -> None:
        outgoing = entry_record("a.test", PARTITION, request_id, self.journal.get(request_id))
        self.log.append(
            Inbound(
                topic=outgoing.topic,
                partition=PARTITION,
                offset=len(self.log),
                timestamp_ms=self.now_ms,
                key=outgoing.key,
                value=outgoing.value or b"",
                headers={},
            )
        )


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
