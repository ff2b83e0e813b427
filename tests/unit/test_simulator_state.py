"""The simulated solving service: tokens, money, tasks, and the rules between them."""

import math
from random import Random

import msgspec
import pytest
from tidegate.records import ChallengeKind
from tidegate_cli.simulator.behaviour import Behaviour, ErrorRule, Operation, Spread, Wire, draw_wire
from tidegate_cli.simulator.charges import Accounts, Charge, ChargeLog
from tidegate_cli.simulator.codes import Fault
from tidegate_cli.simulator.kinds import KINDS, Kind
from tidegate_cli.simulator.service import Pending, Ready, Refused, SolvingService
from tidegate_cli.simulator.tasks import Order, Task
from tidegate_cli.simulator.tokens import Token, TokenBook
from tidegate_cli.simulator.vendors import VENDORS

RECAPTCHA = KINDS[ChallengeKind.RECAPTCHA_V2]
TWOCAPTCHA, ANTICAPTCHA = VENDORS["2captcha"], VENDORS["anticaptcha"]
ORDER = Order(kind=RECAPTCHA, sitekey="key", url="http://site.test/page", host="site.test")


def _service(
    *, latency_ms: float = 1_000.0, most_tasks: int = 100, opening: int = 1_000_000
) -> SolvingService:
    return SolvingService(
        random=Random(7),
        charges=ChargeLog(),
        accounts=Accounts(opening),
        latency_ms=latency_ms,
        epoch_ms=5_000_000.0,
        most_tasks=most_tasks,
    )


def _created(state: SolvingService, now: float = 0.0, vendor: str = "2captcha") -> Task:
    task = state.create(VENDORS[vendor], "k", ORDER, now)
    assert isinstance(task, Task)
    return task


def _sold(book: TokenBook, kind: Kind = RECAPTCHA, solved_at: float = 0.0) -> str:
    return book.issue(Token(kind=kind, sitekey="key", host="site.test", solved_at=solved_at))


class TestTokens:
    def test_a_token_is_good_once(self) -> None:
        """The second verification of a token says that it was used."""
        book = TokenBook(Random(1))
        token = _sold(book)
        assert book.redeem(token, "key", "site.test", 1.0).success
        assert book.redeem(token, "key", "site.test", 1.0).error_codes == ("timeout-or-duplicate",)

    @pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
    def test_a_token_dies_at_the_end_of_its_life(self, kind: Kind) -> None:
        """Just before the end it is good, at the end it is expired, for each kind."""
        book = TokenBook(Random(1))
        early, late = _sold(book, kind), _sold(book, kind)
        assert book.redeem(early, "key", "site.test", kind.ttl_s - 0.001).success
        assert book.redeem(late, "key", "site.test", kind.ttl_s).error_codes == (kind.expired_code,)

    def test_a_token_is_bound_to_its_sitekey_and_host(self) -> None:
        """Shown elsewhere a token is refused, and stays good where it belongs."""
        book = TokenBook(Random(1))
        token = _sold(book)
        assert not book.redeem(token, "other", "site.test", 1.0).success
        assert not book.redeem(token, "key", "evil.test", 1.0).success
        assert book.redeem(token, "key", "site.test", 1.0).success

    @pytest.mark.parametrize("invisible", [True, False])
    def test_a_token_is_bound_to_the_widget_that_it_was_made_for(self, *, invisible: bool) -> None:
        """An invisible one's is refused for a visible one's key, and the other way round."""
        book = TokenBook(Random(1))
        sold = Token(kind=RECAPTCHA, sitekey="key", host="site.test", invisible=invisible, solved_at=0.0)
        text = book.issue(sold)
        refused = book.redeem(text, "key", "site.test", 1.0, invisible=not invisible)
        assert refused.error_codes == ("invalid-input-response",)
        assert book.redeem(text, "key", "site.test", 1.0, invisible=invisible).success

    def test_a_clearance_is_bound_to_whom_it_was_sold_for(self) -> None:
        """Shown by another address or another agent it is refused, and stays good for its own."""
        book = TokenBook(Random(1))
        kind = KINDS[ChallengeKind.DATADOME]
        sold = Token(kind=kind, sitekey="", host="site.test", address="127.0.0.2", agent="one", solved_at=0.0)
        text = book.issue(sold)
        for address, agent in (("127.0.0.1", "one"), ("127.0.0.2", "two")):
            verdict = book.redeem(text, "", "site.test", 1.0, address=address, agent=agent)
            assert verdict.error_codes == ("invalid-input-response",)
        assert book.redeem(text, "", "site.test", 1.0, address="127.0.0.2", agent="one").success

    def test_a_forged_token_is_refused(self) -> None:
        """Text that was never sold is an invalid response."""
        book = TokenBook(Random(1))
        assert book.redeem(book.forge(RECAPTCHA), "", "", 0.0).error_codes == ("invalid-input-response",)

    def test_the_book_is_bounded(self) -> None:
        """The oldest token goes when the book is full."""
        book = TokenBook(Random(1), limit=2)
        first, second, third = _sold(book), _sold(book), _sold(book)
        assert len(book) == 2
        assert [book.redeem(t, "", "", 0.0).success for t in (first, second, third)] == [False, True, True]

    def test_a_turnstile_token_keeps_within_the_vendors_length(self) -> None:
        """No token is longer than the 2,048 characters that Turnstile allows."""
        book = TokenBook(Random(1))
        assert all(0 < len(book.forge(kind)) <= 2_048 for kind in KINDS.values())
        assert len(book.forge(KINDS[ChallengeKind.TURNSTILE])) > 300


class TestCharges:
    def _charge(self, order: int, cost: int = 10) -> Charge:
        return Charge(
            order=order,
            task_id=str(order),
            vendor="v",
            kind="k",
            sitekey="s",
            url="u",
            cost_micros=cost,
            time_ms=0,
        )

    def test_the_log_counts_what_it_no_longer_holds(self) -> None:
        """Rows are bounded; their number and sum are not."""
        log = ChargeLog(limit=2)
        for order in (1, 2, 3):
            log.add(self._charge(order))
        assert (log.total, log.total_micros) == (3, 30)
        assert [row.order for row in log.after(0, 10)] == [2, 3]
        assert [row.order for row in log.after(2, 10)] == [3]
        assert log.after(3, 10) == []

    def test_a_charge_out_of_order_is_refused(self) -> None:
        """An order that does not follow the last one raises and changes nothing."""
        log = ChargeLog()
        with pytest.raises(ValueError, match="does not follow"):
            log.add(self._charge(2))
        assert log.total == 0

    def test_a_log_goes_on_after_earlier_charges(self) -> None:
        """A restarted simulator counts on from what its log on disk holds."""
        written: list[Charge] = []
        log = ChargeLog((self._charge(1), self._charge(2)), written.append)
        log.add(self._charge(3))
        assert log.total_micros == 30
        assert [row.order for row in written] == [3]

    def test_any_key_is_good_until_one_is_configured(self) -> None:
        """From the first configured key on, only configured ones are good."""
        accounts = Accounts(500)
        assert accounts.balance("any") == 500
        assert accounts.balance("") is None
        accounts.configure("mine", 70)
        assert accounts.balance("mine") == 70
        assert accounts.balance("any") is None

    def test_unknown_keys_are_bounded(self) -> None:
        """Keys beyond the bound are refused rather than remembered."""
        accounts = Accounts(1, limit=1)
        assert accounts.balance("a") == 1
        assert accounts.balance("b") is None


class TestTasks:
    def test_a_task_becomes_ready_with_time_alone(self) -> None:
        """No timer runs: the answer to a poll is a function of the moment."""
        state = _service()
        task = _created(state)
        assert isinstance(state.result(TWOCAPTCHA, "k", task.id, task.ready_at - 0.01), Pending)
        ready = state.result(TWOCAPTCHA, "k", task.id, task.ready_at)
        assert isinstance(ready, Ready)
        assert ready.created_ms == 5_000_000
        assert state.verify(ready.task.token, "key", "site.test", task.ready_at).success

    def test_a_later_poll_gets_the_same_token(self) -> None:
        """One task sells one token, however often it is asked for."""
        state = _service()
        task = _created(state)
        first = state.result(TWOCAPTCHA, "k", task.id, 10.0)
        second = state.result(TWOCAPTCHA, "k", task.id, 20.0)
        assert isinstance(first, Ready)
        assert isinstance(second, Ready)
        assert first.task.token == second.task.token
        assert len(state.tokens) == 1

    def test_a_tokens_life_counts_from_when_it_was_solved(self) -> None:
        """Fetching a token late does not make it younger."""
        state = _service()
        task = _created(state)
        ready = state.result(TWOCAPTCHA, "k", task.id, task.ready_at + 119.0)
        assert isinstance(ready, Ready)
        assert not state.verify(ready.task.token, "key", "site.test", task.ready_at + 120.0).success

    @pytest.mark.parametrize(("vendor", "kept_s"), [("capsolver", 300.0), ("2captcha", 600.0)])
    def test_a_result_is_gone_after_the_vendors_window(self, vendor: str, kept_s: float) -> None:
        """Most vendors count from the creation of the task."""
        state = _service()
        task = _created(state, vendor=vendor)
        assert isinstance(state.result(VENDORS[vendor], "k", task.id, kept_s - 0.1), Ready)
        gone = state.result(VENDORS[vendor], "k", task.id, kept_s)
        assert gone == Refused(VENDORS[vendor].codes[Fault.NO_SUCH_TASK])

    def test_anti_captcha_keeps_a_result_for_a_minute_after_it_was_ready(self) -> None:
        """Its window counts from completion."""
        state = _service()
        task = _created(state, vendor="anticaptcha")
        assert isinstance(state.result(ANTICAPTCHA, "k", task.id, task.ready_at + 59.9), Ready)
        assert isinstance(state.result(ANTICAPTCHA, "k", task.id, task.ready_at + 60.0), Refused)

    def test_another_vendor_does_not_know_the_task(self) -> None:
        """A task belongs to the vendor that it was created at."""
        state = _service()
        task = _created(state)
        assert isinstance(state.result(ANTICAPTCHA, "k", task.id, 10.0), Refused)

    def test_tasks_are_bounded_and_room_comes_back(self) -> None:
        """A full service says that it has no slot; expired tasks make room."""
        state = _service(most_tasks=1)
        _created(state)
        assert state.create(TWOCAPTCHA, "k", ORDER, 1.0) == Refused("ERROR_NO_SLOT_AVAILABLE")
        _created(state, now=601.0)
        assert len(state.tasks) == 1

    def test_too_many_polls_ban_the_key(self) -> None:
        """The poll after the 120th is refused, and so is all else until the ban ends."""
        state = _service()
        state.behave("2captcha", Behaviour(never_ready=1.0))
        task = _created(state)
        for poll in range(120):
            assert isinstance(state.result(TWOCAPTCHA, "k", task.id, poll / 10), Pending)
        assert state.result(TWOCAPTCHA, "k", task.id, 12.0) == Refused("ERROR_IP_BLOCKED")
        assert state.create(TWOCAPTCHA, "k", ORDER, 13.0) == Refused("ERROR_IP_BLOCKED")
        assert isinstance(state.create(TWOCAPTCHA, "another", ORDER, 13.0), Task)
        _created(state, now=612.0)
        figures = state.figures["2captcha"]
        assert (figures.bans, figures.most_polls) == (1, 121)

    def test_early_polls_are_counted_and_refused_only_when_told_to(self) -> None:
        """A poll sooner than the vendor's interval after the last one, or after the creation, is early."""
        state = _service()
        task = _created(state)
        for now in (1.0, 6.0, 7.0):
            state.result(TWOCAPTCHA, "k", task.id, now)
        assert task.early_polls == 2
        state.behave("2captcha", Behaviour(enforce_intervals=True))
        assert isinstance(state.result(TWOCAPTCHA, "k", task.id, 8.0), Refused)

    def test_latencies_and_ids_follow_the_seed(self) -> None:
        """Two services with one seed sell the same."""
        first, second = _created(_service()), _created(_service())
        assert (first.id, first.ready_at) == (second.id, second.ready_at)


class TestMoney:
    def test_a_task_is_charged_when_it_is_accepted(self) -> None:
        """The charge names task, kind, sitekey and URL, and comes off the balance."""
        state = _service()
        task = _created(state, now=2.0)
        (charge,) = state.charges.after(0, 10)
        assert (charge.order, charge.task_id, charge.vendor, charge.kind) == (
            1,
            task.id,
            "2captcha",
            "recaptcha_v2",
        )
        assert (charge.sitekey, charge.url, charge.time_ms) == ("key", ORDER.url, 5_002_000)
        assert charge.cost_micros == 2_990
        assert state.balance(TWOCAPTCHA, "k", 2.0) == 1_000_000 - 2_990

    def test_a_balance_below_the_price_buys_nothing(self) -> None:
        """The refusal costs nothing and leaves no task."""
        state = _service(opening=2_989)
        assert state.create(TWOCAPTCHA, "k", ORDER, 0.0) == Refused("ERROR_ZERO_BALANCE")
        assert state.charges.total == 0
        assert len(state.tasks) == 0

    @pytest.mark.parametrize(("vendor", "charged"), [("2captcha", 0), ("anticaptcha", 1)])
    def test_who_pays_for_a_failed_task_is_the_vendors_rule(self, vendor: str, charged: int) -> None:
        """2Captcha gives the money back, Anti-Captcha keeps it."""
        state = _service()
        rule = ErrorRule(code="ERROR_CAPTCHA_UNSOLVABLE", on=Operation.RESULT)
        state.behave(vendor, Behaviour(errors=(rule,)))
        task = _created(state, vendor=vendor)
        assert isinstance(state.result(VENDORS[vendor], "k", task.id, 0.1), Pending)
        failed = state.result(VENDORS[vendor], "k", task.id, task.ready_at)
        assert failed == Refused("ERROR_CAPTCHA_UNSOLVABLE")
        assert state.charges.total == charged

    def test_a_task_that_is_never_ready_is_not_charged(self) -> None:
        """It stays in flight until its window ends."""
        state = _service()
        state.behave("*", Behaviour(never_ready=1.0))
        task = _created(state)
        assert task.ready_at == math.inf
        assert state.charges.total == 0
        assert state.tasks.in_flight("2captcha", 599.0) == 1
        assert state.tasks.in_flight("2captcha", 600.0) == 0

    def test_captchaai_sells_threads_not_solves(self) -> None:
        """Without a free thread it says zero balance; a finished task frees its thread."""
        state = _service()
        state.behave("captchaai", Behaviour(threads=1))
        vendor = VENDORS["captchaai"]
        task = _created(state, vendor="captchaai")
        assert state.create(vendor, "k", ORDER, 0.1) == Refused("ERROR_ZERO_BALANCE")
        _created(state, now=task.ready_at, vendor="captchaai")
        assert state.charges.total_micros == 0


class TestBehaviour:
    def test_a_wrong_token_is_paid_for_and_refused_by_sites(self) -> None:
        """It looks like a token, and no verification accepts it."""
        state = _service()
        state.behave("2captcha", Behaviour(wrong_token=1.0))
        task = _created(state)
        ready = state.result(TWOCAPTCHA, "k", task.id, 10.0)
        assert isinstance(ready, Ready)
        assert not state.verify(ready.task.token, "key", "site.test", 10.0).success
        assert state.verified.refused == {"invalid-input-response": 1}
        assert state.charges.total == 1

    def test_zero_balance_and_unsupported_kinds_are_refused(self) -> None:
        """Both are set at run time, by vendor."""
        state = _service()
        state.behave("2captcha", Behaviour(zero_balance=True))
        state.behave("anticaptcha", Behaviour(unsupported=(ChallengeKind.RECAPTCHA_V2,)))
        assert state.create(TWOCAPTCHA, "k", ORDER, 0.0) == Refused("ERROR_ZERO_BALANCE")
        assert state.balance(TWOCAPTCHA, "k", 0.0) == 0
        assert state.create(ANTICAPTCHA, "k", ORDER, 0.0) == Refused("ERROR_TASK_NOT_SUPPORTED")

    def test_errors_come_at_their_rate(self) -> None:
        """A rate of one in four hits about one request in four."""
        rule = Behaviour(errors=(ErrorRule(code="ERROR_NO_SLOT_AVAILABLE", rate=0.25),))
        random = Random(3)
        hits = sum(bool(rule.refusal(Operation.CREATE, random)) for _ in range(2_000))
        assert 420 < hits < 580
        assert rule.refusal(Operation.BALANCE, random) == ""

    @pytest.mark.parametrize("wire", [wire for wire in Wire if wire is not Wire.FINE])
    def test_the_wire_fails_only_where_it_is_told_to(self, wire: Wire) -> None:
        """A fault limited to polls leaves the creation of tasks alone."""
        behaviour = msgspec.convert({"operations": ["result"], wire.value: 1.0}, Behaviour)
        assert draw_wire(behaviour, Operation.RESULT, Random(1)) is wire
        assert draw_wire(behaviour, Operation.CREATE, Random(1)) is Wire.FINE

    def test_one_report_a_task_counts(self) -> None:
        """A second word on the same task changes nothing."""
        state = _service()
        task = _created(state)
        for good in (True, False):
            assert state.report(TWOCAPTCHA, "k", task.id, good=good, now=5.0) is None
        assert (state.figures["2captcha"].reported_good, state.figures["2captcha"].reported_bad) == (1, 0)


class TestRules:
    """What vendors ban for is counted, and banned for where it is told to be."""

    def _refused(self, state: SolvingService, vendor: str, times: int, key: str = "k") -> None:
        for n in range(times):
            assert isinstance(state.create(VENDORS[vendor], key, ORDER, n / 10), Refused)

    def test_repeating_one_error_is_nonsense(self) -> None:
        """Anti-Captcha bans for it; another code, a good order or a minute's rest begin anew."""
        state = _service()
        state.behave("anticaptcha", Behaviour(errors=(ErrorRule(code="ERROR_TASK_ABSENT"),)))
        self._refused(state, "anticaptcha", 20)
        assert state.figures["anticaptcha"].offences == {}
        self._refused(state, "anticaptcha", 1)
        assert state.figures["anticaptcha"].offences == {"same_error": 1}
        assert isinstance(state.create(VENDORS["anticaptcha"], "k", ORDER, 100.0), Refused)
        assert state.figures["anticaptcha"].offences == {"same_error": 1}
        assert state.figures["anticaptcha"].bans == 0

    def test_an_empty_account_is_not_to_be_tried_again_and_again(self) -> None:
        """CapMonster bans for it where bans are enforced; then every call is refused and counted."""
        state = _service()
        state.behave("capmonster", Behaviour(zero_balance=True, enforce_bans=True))
        self._refused(state, "capmonster", 11)
        assert state.figures["capmonster"].bans == 1
        told = state.create(VENDORS["capmonster"], "k", ORDER, 2.0)
        assert told == Refused("ERROR_IP_BANNED")
        assert state.figures["capmonster"].offences == {"dead_account": 1, "while_banned": 1}

    def test_a_burst_of_orders_is_too_many(self) -> None:
        """The older 2Captcha bans a key for 10 s for more than 60 orders within 3 s."""
        state, legacy = _service(opening=10_000_000), VENDORS["2captcha-legacy"]
        state.behave("2captcha-legacy", Behaviour(enforce_bans=True))
        made = [state.create(legacy, "k", ORDER, n / 100) for n in range(62)]
        assert [isinstance(each, Task) for each in made].count(False) == 1
        assert state.figures["2captcha-legacy"].offences == {"burst": 1, "while_banned": 1}
        assert isinstance(state.create(legacy, "k", ORDER, 20.0), Task)

    def test_asking_after_the_end_is_counted_and_nothing_more(self) -> None:
        """A second poll of a ready task is of no use to anybody."""
        state = _service()
        task = _created(state)
        for now in (50.0, 60.0):
            assert isinstance(state.result(TWOCAPTCHA, "k", task.id, now), Ready)
        assert state.figures["2captcha"].offences == {"polled_after_end": 1}

    def test_a_report_comes_once_and_in_time(self) -> None:
        """The older family says so when it does not."""
        state, legacy = _service(), VENDORS["2captcha-legacy"]
        state.behave("*", Behaviour(latency_ms=0))
        task = _created(state, vendor="2captcha-legacy")
        assert state.report(legacy, "k", task.id, good=True, now=10.0) is None
        again = state.report(legacy, "k", task.id, good=False, now=11.0)
        assert again == Refused("ERROR_DUPLICATE_REPORT")
        late = _created(state, vendor="2captcha-legacy")
        assert state.report(legacy, "k", late.id, good=True, now=901.0) == Refused("REPORT_NOT_RECORDED")
        assert state.figures["2captcha-legacy"].reported_late == 1

    @pytest.mark.parametrize("distribution", list(Spread))
    def test_latencies_have_their_mean(self, distribution: Spread) -> None:
        """Evenly spread, lognormal or exponential: the mean is the one that was set."""
        behaviour, random = Behaviour(latency_ms=10_000, spread=0.5, distribution=distribution), Random(5)
        took = [behaviour.took_s(0.0, random) for _ in range(4_000)]
        assert 9.5 < sum(took) / len(took) < 10.5
        assert min(took) > 0
