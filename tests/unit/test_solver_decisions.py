"""The solver's pure decisions: worth buying, poll plan, heartbeat, journal, answers, settings."""

import pytest
from support.solver import (
    a_request,
)
from support.virtual_time import EPOCH_MS
from tidegate.captcha_records import SolutionStatus, TaskState
from tidegate.errors import ConfigurationError, IllegalTransitionError
from tidegate.records import ChallengeKind
from tidegate.settings import load
from tidegate_solver import answers, wire
from tidegate_solver.answers import Answer, Bill
from tidegate_solver.catalog import choose_profile
from tidegate_solver.heartbeat import Heartbeat
from tidegate_solver.journal import Entry, Journal
from tidegate_solver.polling import PollPlan
from tidegate_solver.profiles import ErrorKind
from tidegate_solver.settings import Settings
from tidegate_solver.worth import SolveTimes, time_to_wait_s

PLAN = PollPlan(first_delay_s=10.0, interval_s=3.0, time_limit_s=120.0, cap=120)


class TestWorth:
    def test_bought_only_while_the_token_can_still_be_used(self) -> None:
        """C4: age + p95 + margin must stay below the lifetime; at the limit it is too late."""
        assert time_to_wait_s(age_s=0, usual_s=45, margin_s=10, lifetime_s=120) == 65
        assert time_to_wait_s(age_s=65, usual_s=45, margin_s=10, lifetime_s=120) <= 0

    def test_the_default_holds_until_enough_was_measured(self) -> None:
        """Nineteen quick solves do not make a percentile, twenty do."""
        times = SolveTimes(45.0)
        for n in range(19):
            times.observe(5.0, float(n))
        assert times.p95_s(19.0) == 45.0
        times.observe(5.0, 19.0)
        assert times.p95_s(19.0) == 5.0

    def test_one_slow_solve_in_many_does_not_move_it(self) -> None:
        """It is a percentile over a window: smooth, and moved by a tail, not by a single solve."""
        times = SolveTimes(45.0)
        for n in range(100):
            times.observe(100.0 if n == 50 else 5.0, float(n))
        assert times.p95_s(100.0) == 5.0
        for n in range(20):
            times.observe(100.0, 100.0 + n)
        assert times.p95_s(120.0) == 100.0

    def test_old_samples_do_not_stop_buying_for_ever(self) -> None:
        """Once nothing is bought nothing is measured, so what was measured must age."""
        times = SolveTimes(45.0)
        for n in range(50):
            times.observe(500.0, float(n))
        assert times.p95_s(60.0) == 500.0
        assert times.p95_s(10_000.0) == 45.0


class TestPollPlan:
    def test_polls_keep_the_vendors_distance(self) -> None:
        """First delay, then interval after interval, however late a poll was."""
        assert PLAN.next_after(None) == 10.0
        assert PLAN.next_after(10.0) == 13.0
        assert PLAN.next_after(15.5) == 18.5

    def test_polls_made_are_counted_from_the_creation(self) -> None:
        """M5: a resumed task takes the polls that may have been made before."""
        assert [PLAN.made_by(t) for t in (0, 9.9, 10, 12.9, 13, 40)] == [0, 0, 1, 1, 2, 11]

    def test_polling_ends_at_the_limit_and_at_the_cap(self) -> None:
        """Neither the time limit nor the vendor's cap is passed."""
        assert PLAN.may_poll(120.0, 5)
        assert not PLAN.may_poll(120.1, 5)
        assert not PLAN.may_poll(50.0, 120)


class TestHeartbeat:
    def test_regular_beats_are_trusted(self) -> None:
        """A process that runs may buy."""
        heart = Heartbeat(5.0, monotonic_s=0.0, wall_ms=0)
        for n in range(1, 20):
            heart.beat(n * 1.0, n * 1000)
            assert heart.is_trusted(n + 0.5, n * 1000 + 500)

    def test_a_stopped_process_does_not_buy_when_it_continues(self) -> None:
        """M3: neither before the first beat after the stop nor until the group had its say."""
        heart = Heartbeat(5.0, monotonic_s=0.0, wall_ms=0)
        assert not heart.is_trusted(60.0, 60_000)
        heart.beat(60.0, 60_000)
        assert not heart.is_trusted(60.1, 60_100)
        for n in range(1, 6):
            heart.beat(60.0 + n, 60_000 + n * 1000)
        assert heart.is_trusted(65.0, 65_000)

    def test_a_suspended_machine_is_a_stop_too(self) -> None:
        """M3: the monotonic clock may stand still while the machine sleeps, the wall clock does not."""
        heart = Heartbeat(5.0, monotonic_s=0.0, wall_ms=0)
        heart.beat(1.0, 3_600_000)
        assert not heart.is_trusted(1.1, 3_600_100)


def an_answer(at_ms: int = EPOCH_MS, token: str | None = "t") -> Answer:
    """Return an answer with a token that lives 100 s, or a failed one."""
    return Answer(
        status=SolutionStatus.SOLVED if token else SolutionStatus.FAILED,
        token=token,
        provider="p",
        task_id="1",
        cost=0.003,
        lifetime_s=100.0 if token else 0.0,
        answered_at_ms=at_ms,
    )


class TestJournal:
    def test_forgets_by_age_and_by_count(self) -> None:
        """Memory is bounded: neither time nor number lets it grow."""
        journal = Journal(keep_ms=1_000_000, max_answered=10)
        for n in range(15):
            journal.reserve(str(n), provider="p", max_cost=1.0, now_ms=EPOCH_MS)
            journal.answer(str(n), an_answer(EPOCH_MS + n))
        assert journal.forget(EPOCH_MS + 100) == (0, 5)
        assert journal.get("4") is None
        assert journal.get("5") is not None
        assert journal.forget(EPOCH_MS + 1_000_012) == (8, 0)
        assert len(journal) == 2

    def test_a_dead_token_is_not_kept(self) -> None:
        """What is left of an answer whose token has died is that there was one, and what it cost."""
        journal = Journal(keep_ms=1_000_000, max_answered=10)
        journal.reserve("a", provider="p", max_cost=1.0, now_ms=EPOCH_MS)
        journal.answer("a", an_answer())
        journal.forget(EPOCH_MS + 100_001)
        entry = journal.get("a")
        assert entry is not None
        assert entry.answer is not None
        assert entry.answer.token is None
        assert (entry.answer.status, entry.answer.cost) == (SolutionStatus.FAILED, 0.003)

    def test_an_open_entry_that_nobody_came_back_for_ages_too(self) -> None:
        """A reservation outlives no request that could still be bought."""
        journal = Journal(keep_ms=1_000, max_answered=10)
        journal.reserve("a", provider="p", max_cost=1.0, now_ms=EPOCH_MS)
        assert journal.forget(EPOCH_MS + 1_000) == (1, 0)
        assert len(journal) == 0

    def test_a_late_word_of_a_former_owner_takes_nothing_back(self) -> None:
        """A ``task`` that lies behind ``answered`` in the log leaves the answer standing (M4)."""
        journal = Journal(keep_ms=1_000_000, max_answered=10)
        answered = Entry(
            state=TaskState.ANSWERED, provider="p", max_cost=1.0, changed_at_ms=EPOCH_MS, answer=an_answer()
        )
        late = Entry(state=TaskState.TASK, provider="p", max_cost=1.0, changed_at_ms=EPOCH_MS, task_id="1")
        journal.restore("a", answered)
        journal.restore("a", late)
        assert journal.get("a") is answered
        journal.restore("a", None)
        assert journal.get("a") is None

    def test_an_illegal_step_changes_nothing(self) -> None:
        """A second reservation of one request is refused: that would be a second purchase (M4)."""
        journal = Journal(keep_ms=1_000_000, max_answered=10)
        entry = journal.reserve("a", provider="p", max_cost=1.0, now_ms=EPOCH_MS)
        with pytest.raises(IllegalTransitionError):
            journal.reserve("a", provider="q", max_cost=2.0, now_ms=EPOCH_MS)
        assert journal.get("a") == entry


class TestAnswers:
    BILL = Bill(provider="p", task_id="1", cost=0.003, polls=4, created_at_ms=EPOCH_MS)

    def test_a_token_lives_no_longer_than_its_kind_nor_its_request(self) -> None:
        """What is left is the lesser of the token's life since the last empty poll and the request's."""
        request = a_request(lifetime_s=300.0)
        answer = answers.ended(
            request, wire.Ready(token="t"), self.BILL, age_s=20, uncertain_s=5, now_ms=EPOCH_MS
        )
        assert (answer.status, answer.lifetime_s) == (SolutionStatus.SOLVED, 115.0)
        answer = answers.ended(
            request, wire.Ready(token="t"), self.BILL, age_s=250, uncertain_s=5, now_ms=EPOCH_MS
        )
        assert answer.lifetime_s == 50.0

    def test_a_token_that_came_too_late_is_booked_and_not_handed_out(self) -> None:
        """A paid answer after the request's life: the cost stands, the token does not travel."""
        answer = answers.ended(
            a_request(lifetime_s=60.0),
            wire.Ready(token="t"),
            self.BILL,
            age_s=61,
            uncertain_s=5,
            now_ms=EPOCH_MS,
        )
        assert (answer.status, answer.error_code) == (SolutionStatus.FAILED, "late")
        assert (answer.cost, answer.token, answer.lifetime_s) == (0.003, None, 0.0)

    def test_a_repeated_answer_has_aged(self) -> None:
        """The life that is left is counted from the answer, not from its repetition."""
        solution = answers.solution(a_request(), an_answer(), EPOCH_MS + 30_000)
        assert solution.lifetime_s == 70.0
        assert answers.solution(a_request(), an_answer(), EPOCH_MS + 300_000).lifetime_s == 0.0

    @pytest.mark.parametrize(
        ("kind", "status"),
        [
            (ErrorKind.BUSY, SolutionStatus.EXPIRED_UNBOUGHT),
            (ErrorKind.INPUT, SolutionStatus.UNSOLVABLE),
            (ErrorKind.FATAL, SolutionStatus.EXPIRED_UNBOUGHT),
            (ErrorKind.UNSUPPORTED, SolutionStatus.UNSOLVABLE),
            (ErrorKind.RETRY, SolutionStatus.FAILED),
            (ErrorKind.EXPIRED, SolutionStatus.FAILED),
            (ErrorKind.UNKNOWN, SolutionStatus.FAILED),
        ],
    )
    def test_a_refused_task_costs_nothing(self, kind: ErrorKind, status: SolutionStatus) -> None:
        """C4: a service without room is a deferral; what it will never take is not tried again."""
        answer = answers.rejected("p", wire.Rejected(code="c", kind=kind, message="m"), EPOCH_MS)
        assert (answer.status, answer.cost) == (status, 0.0)


class TestSettings:
    def test_json_in_variables(self) -> None:
        """Prices and task types come as JSON objects."""
        settings = load(
            Settings,
            {
                "TIDEGATE_SOLVER__PRICES": '{"turnstile": 0.001}',
                "TIDEGATE_SOLVER__TASK_TYPES": '{"turnstile": "TurnstileTaskProxyless"}',
            },
        )
        assert settings.solver.prices == {ChallengeKind.TURNSTILE: 0.001}
        chosen = choose_profile(
            "ucaptcha", prices=settings.solver.prices, task_types=settings.solver.task_types
        )
        offer = chosen.offer(ChallengeKind.TURNSTILE)
        assert offer is not None
        assert (offer.task_type, offer.price) == ("TurnstileTaskProxyless", 0.001)
        assert chosen.offer(ChallengeKind.HCAPTCHA) is None

    @pytest.mark.parametrize("value", ['{"captcha": 1}', "1", "{", '{"turnstile": -1}'])
    def test_a_wrong_price_is_refused_at_start(self, value: str) -> None:
        """An unknown kind, no object, no JSON, a negative price: a sentence that names the variable."""
        with pytest.raises(ConfigurationError, match="TIDEGATE_SOLVER__PRICES"):
            load(Settings, {"TIDEGATE_SOLVER__PRICES": value})

    def test_an_unknown_provider_is_refused_with_the_known_ones(self) -> None:
        """A misspelt provider must not pass in silence."""
        with pytest.raises(ConfigurationError, match="capmonster"):
            choose_profile("capmnster")

    def test_the_key_does_not_show(self) -> None:
        """Settings are printed now and then; the key is not."""
        settings = load(Settings, {"TIDEGATE_SOLVER__API_KEY": "very-secret"})
        assert "very-secret" not in repr(settings)


def test_the_journal_cannot_be_told_to_forget_what_is_being_bought() -> None:
    """M4: a reservation forgotten while createTask is out would leave a paid task without an entry."""
    with pytest.raises(ConfigurationError, match="JOURNAL_KEEP_S"):
        load(Settings, {"TIDEGATE_SOLVER__JOURNAL_KEEP_S": "900"})
