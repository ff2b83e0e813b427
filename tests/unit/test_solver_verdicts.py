"""Verdicts: what the fetcher says of an answer, and what the solver makes of it."""

import asyncio
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict
from support.solver import KEY, FakeVendor, a_request, context, profile, seller
from support.virtual_time import LoopClock, virtually
from tidegate.captcha_records import CaptchaSolution, SolutionStatus, SolutionVerdict
from tidegate.clock import BrokerClock
from tidegate.errors import RecordError
from tidegate.events import Event
from tidegate.outcome import Done, ErrorClass, Outcome, Outgoing, Reason, Retry
from tidegate.records import ChallengeKind, Inbound, encode
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink
from tidegate.testing.manual_clock import ManualClock
from tidegate.topics import Topic
from tidegate_fetcher.exchange import Response
from tidegate_fetcher.tenures import Tenures
from tidegate_fetcher.verdicts import with_verdict
from tidegate_solver import events
from tidegate_solver.app import assemble
from tidegate_solver.handler import Solver
from yarl import URL

V2 = ChallengeKind.RECAPTCHA_V2
PAGE = Outgoing(topic=Topic.PAGES, site="a.test", value=b"")
RESPONSE = Response(
    url=URL("https://a.test/"),
    status=200,
    headers=CIMultiDict(),
    body=b"",
    wire_bytes=0,
    elapsed_ms=1,
    redirects=0,
    jar=(),
)


def solved(**fields: Any) -> CaptchaSolution:
    """Return a solution that was handed in."""
    bought = {"provider": "capmonster", "task_id": "7", "token": "t"} | fields
    return CaptchaSolution(status=SolutionStatus.SOLVED, request=a_request(), **bought)


def record(value: bytes = b"", topic: str = Topic.CAPTCHA_SOLUTIONS, timestamp_ms: int = 5) -> Inbound:
    """Return a record on a topic."""
    return Inbound(
        topic=topic, partition=3, offset=0, timestamp_ms=timestamp_ms, key=None, value=value, headers={}
    )


class TestFetcherSide:
    def test_a_page_is_an_acceptance_beside_it(self) -> None:
        """The verdict goes to its own topic, keyed by request id, after the page."""
        outcome = with_verdict(Done((PAGE,)), RESPONSE, solved(), record(), first=True)
        assert isinstance(outcome, Done)
        page, verdict = outcome.outgoing
        assert page is PAGE
        assert (verdict.topic, verdict.site, verdict.partition) == (Topic.CAPTCHA_VERDICTS, "a.test", None)
        assert verdict.key == a_request().request_id.encode()
        said = msgspec.json.decode(verdict.value or b"", type=SolutionVerdict)
        assert (said.provider, said.task_id, said.accepted, said.solved_at_ms) == ("capmonster", "7", True, 5)

    def test_a_refused_answer_is_a_rejection_beside_the_retry(self) -> None:
        """The retry is what it was."""
        retry = Retry(error_class=ErrorClass.SOLVE_FAILED, message="The site refused the token.")
        outcome = with_verdict(retry, RESPONSE, solved(), record(), first=True)
        assert isinstance(outcome, Retry)
        (verdict,) = outcome.besides
        assert msgspec.json.decode(verdict.value or b"", type=SolutionVerdict).accepted is False
        assert msgspec.structs.replace(outcome, besides=()) == retry

    @pytest.mark.parametrize(
        ("outcome", "response", "bought"),
        [
            (Retry(error_class=ErrorClass.SOLVE_FAILED, message="gave up"), None, {}),
            (Retry(error_class=ErrorClass.NETWORK, message="reset"), None, {}),
            (Retry(error_class=ErrorClass.SERVER_ERROR, message="503"), RESPONSE, {}),
            (Done((msgspec.structs.replace(PAGE, topic=Topic.CAPTCHA_REQUESTS),)), RESPONSE, {}),
            (Done((PAGE,)), RESPONSE, {"provider": None}),
            (Done((PAGE,)), RESPONSE, {"task_id": None}),
        ],
    )
    def test_what_shows_nothing_says_nothing(
        self, outcome: Outcome, response: Response | None, bought: dict[str, Any]
    ) -> None:
        """An answer that was never handed in, a server's own trouble, another challenge: no verdict."""
        assert with_verdict(outcome, response, solved(**bought), record(), first=True) is outcome

    @pytest.mark.parametrize(("first", "repeated"), [(False, False), (True, True)], ids=["redo", "copy"])
    def test_a_refusal_of_what_may_have_been_used_says_nothing(self, *, first: bool, repeated: bool) -> None:
        """A token handed in twice is refused for that; a page that came shows what it always does (M7)."""
        retry = Retry(error_class=ErrorClass.SOLVE_FAILED, message="The site refused the token.")
        answer = solved(repeated=repeated)
        assert with_verdict(retry, RESPONSE, answer, record(), first=first) is retry
        taken = with_verdict(Done((PAGE,)), RESPONSE, answer, record(), first=first)
        assert isinstance(taken, Done)
        assert len(taken.outgoing) == 2

    def test_a_refusal_through_another_proxy_says_nothing(self) -> None:
        """The one that it was solved through is gone: whose fault it is, nobody knows; a page shows it."""
        retry = Retry(error_class=ErrorClass.SOLVE_FAILED, message="The site refused the token.")
        through = msgspec.structs.replace(RESPONSE, proxy_id="another")
        assert with_verdict(retry, through, solved(), record(), first=True) is retry
        taken = with_verdict(Done((PAGE,)), through, solved(), record(), first=True)
        assert isinstance(taken, Done)
        assert len(taken.outgoing) == 2

    def test_only_what_is_younger_than_our_tenure_was_nobodys_before(self) -> None:
        """With two seconds for the estimate of the broker's clock; each assignment begins anew (T1)."""
        clock = ManualClock()
        tenures = Tenures(clock, BrokerClock(clock))
        start_ms = clock.wall_ms()
        assert not tenures.is_first(record(timestamp_ms=start_ms + 60_000))
        tenures.began(3)
        clock.advance(60)
        ages = [start_ms - 1, start_ms, start_ms + 1_999, start_ms + 2_000, start_ms + 59_000]
        assert [tenures.is_first(record(timestamp_ms=at)) for at in ages] == [False] * 3 + [True] * 2
        tenures.began(3)
        assert not tenures.is_first(record(timestamp_ms=start_ms + 59_000))
        tenures.ended(3)
        clock.advance(60)
        assert not tenures.is_first(record(timestamp_ms=start_ms + 119_000))


class Bench:
    """A solver that is told verdicts, and what its vendor was told."""

    def __init__(self, solver: Solver, vendor: FakeVendor, happened: list[Event]) -> None:
        self.solver = solver
        self.vendor = vendor
        self.happened = happened

    async def say(self, name: str, *, accepted: bool, age_s: float = 1.0, **fields: Any) -> str:
        """Hand a verdict in; return what became of the report."""
        said: dict[str, Any] = {
            "request_id": name,
            "site": "a.test",
            "kind": V2,
            "provider": self.vendor.profile.name,
            "task_id": "7",
            "accepted": accepted,
            "solved_at_ms": LoopClock().wall_ms() - round(age_s * 1000),
        }
        verdict = SolutionVerdict(**said | fields)
        before = len(self.happened)
        work = self.solver.decode(record(encode(verdict), Topic.CAPTCHA_VERDICTS, LoopClock().wall_ms()))
        assert await self.solver.handle(work) == Done()
        judged = [e for e in self.happened[before:] if isinstance(e, events.AnswerJudged)]
        return judged[0].reported if judged else "nothing"


def play(name: str, scenario: Any, **settings: Any) -> None:
    """Run a scenario with a solver of one vendor in virtual time."""

    async def main() -> None:
        clock, happened = LoopClock(), list[Event]()
        vendor = FakeVendor(profile(name), clock)
        broker = FakeBroker(clock)
        parts = context(FakeSink(broker), FakeReader(broker), clock, happened.append, **settings)
        async with assemble(parts, [seller(parts, vendor.profile, vendor)]) as solver:
            await solver.prepare(3)
            await scenario(Bench(solver, vendor, happened))

    virtually(main())


class TestSolverSide:
    @pytest.mark.parametrize(
        ("name", "kind", "accepted", "path"),
        [
            ("capsolver", V2, True, "/feedbackTask"),
            ("capsolver", V2, False, "/feedbackTask"),
            ("2captcha", V2, True, "/reportCorrect"),
            ("2captcha", V2, False, "/reportIncorrect"),
            ("anticaptcha", V2, True, None),
            ("anticaptcha", ChallengeKind.RECAPTCHA_V3, True, "/reportCorrectRecaptcha"),
            ("anticaptcha", V2, False, "/reportIncorrectRecaptcha"),
            ("anticaptcha", ChallengeKind.IMAGE, False, "/reportIncorrectImageCaptcha"),
            ("capmonster", V2, True, None),
            ("capmonster", V2, False, "/reportIncorrectTokenCaptcha"),
            ("ucaptcha", V2, False, None),
        ],
    )
    def test_a_provider_is_told_by_its_own_call(
        self, name: str, kind: ChallengeKind, accepted: bool, path: str | None
    ) -> None:
        """Each vendor has its own paths, for some kinds; where it has none nothing is sent."""

        async def scenario(b: Bench) -> None:
            told = await b.say("r", accepted=accepted, kind=kind)
            assert told == ("not_wanted" if path is None else "good" if accepted else "bad")
            assert [sent for sent, _ in b.vendor.bodies] == ([] if path is None else [path])
            if path == "/feedbackTask":
                assert b.vendor.bodies[0][1]["result"] == {"invalid": not accepted}
            for _, body in b.vendor.bodies:
                assert body["clientKey"] == KEY
                assert body["taskId"] == (7 if b.vendor.profile.numeric_task_ids else "7")

        play(name, scenario)

    def test_a_verdict_counts_once_and_within_its_window(self) -> None:
        """One that is delivered twice, or that comes after the vendor's 60 s, is not reported."""

        async def scenario(b: Bench) -> None:
            assert await b.say("r", accepted=False) == "bad"
            assert await b.say("r", accepted=False) == "nothing"
            assert await b.say("late", accepted=False, age_s=61.0) == "too_late"
            assert await b.say("other", accepted=False, provider="gone") == "nothing"
            assert len(b.vendor.bodies) == 1

        play("anticaptcha", scenario)

    def test_nothing_is_reported_where_the_operator_says_so(self) -> None:
        """The verdicts count for the routing all the same."""

        async def scenario(b: Bench) -> None:
            assert await b.say("r", accepted=True) == "not_wanted"
            (member,) = b.solver._buyer._market.members.values()
            assert member.measures._accepted

        play("2captcha", scenario, reports=False)

    def test_a_site_that_refuses_everything_is_not_bought_for_and_not_complained_of(self) -> None:
        """M7: after five in a row the rest are withheld, requests end unsolvable; one later finds out."""

        async def scenario(b: Bench) -> None:
            told = [await b.say(f"r{n}", accepted=False) for n in range(7)]
            assert told == ["bad"] * 4 + ["withheld"] * 3
            request = a_request()
            assert await answered(b, request) == (SolutionStatus.UNSOLVABLE, "site_refuses")
            elsewhere = msgspec.structs.replace(
                a_request("other"), state=msgspec.structs.replace(request.state, site="b.test", id="other")
            )
            assert (await answered(b, elsewhere))[0] is SolutionStatus.SOLVED
            await LoopClock().sleep(601.0)
            assert (await answered(b, a_request("probe")))[0] is SolutionStatus.SOLVED
            assert (await answered(b, a_request("meanwhile")))[0] is SolutionStatus.UNSOLVABLE
            assert await b.say("probe", accepted=True) == "good"
            assert (await answered(b, a_request("after")))[0] is SolutionStatus.SOLVED
            assert [e.refusing for e in b.happened if isinstance(e, events.SiteRefusal)] == [True, False]

        play("2captcha", scenario)

    def test_an_unreadable_verdict_ends_as_bad_input(self) -> None:
        """What is no verdict is a dead letter with a sentence, never a crash."""

        async def scenario(b: Bench) -> None:
            with pytest.raises(RecordError) as raised:
                b.solver.decode(record(b"{}", Topic.CAPTCHA_VERDICTS))
            assert raised.value.reason is Reason.BAD_STATE

        play("2captcha", scenario)


async def answered(b: Bench, request: Any) -> tuple[SolutionStatus, str | None]:
    """Put a request through; return its status and error code."""
    stands = record(encode(request), Topic.CAPTCHA_REQUESTS, LoopClock().wall_ms())
    outcome = await asyncio.wait_for(b.solver.handle(b.solver.decode(stands)), 1000)
    assert isinstance(outcome, Done)
    solve, solution = outcome.outgoing[:2]
    code = msgspec.json.decode(solve.value or b"")["error_code"]
    return msgspec.json.decode(solution.value or b"", type=CaptchaSolution).status, code
