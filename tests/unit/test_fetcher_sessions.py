"""Sessions: who is kept, who is given up, and what is written of them."""

from typing import Any

import pytest
from support.fetcher import inbound
from support.visitors import PAGE, REFUSED, REQUEST, SITE, challenge, identities, response, solution, state
from tidegate.captcha_records import CaptchaSolution, Cookie
from tidegate.errors import RecordError
from tidegate.events import Event
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outgoing, Reason, Retry
from tidegate.records import ChallengeKind, UrlJob
from tidegate.session_records import SessionRecord
from tidegate.topics import Topic
from tidegate_fetcher import cookies, session_log
from tidegate_fetcher.cookies import Jar
from tidegate_fetcher.events import SessionPassed, SessionRetired
from tidegate_fetcher.identities import Identities
from tidegate_fetcher.session_pool import SessionPool
from tidegate_fetcher.sessions import Retired, Session, SessionPolicy, Visit

NOW = 1_000_000
JOB = UrlJob(url=f"http://{SITE}/")
TOKEN, CLEARANCE = ChallengeKind.HCAPTCHA, ChallengeKind.AWS_WAF
POLICY = SessionPolicy()


def jar(*values: str, name: str = "sid") -> Jar:
    """Return a jar of the site's cookies."""
    return tuple(Cookie(name=f"{name}{n}" if n else name, value=v, domain=SITE) for n, v in enumerate(values))


def session(identity: str = "i", site: str = SITE, *, passed: bool = False) -> Session:
    """Return a session."""
    groups = frozenset({"token"} if passed else ())
    return Session(site=site, identity=identity, passed=groups, begun_ms=NOW, until_ms=NOW * 9)


def passed(ours: Identities, kind: ChallengeKind = CLEARANCE, now_ms: int = NOW, value: str = "s") -> Visit:
    """Let the first job of a site meet a challenge and pass it; return who comes next."""
    first = state("first")
    visit = ours.visit(first, JOB, now_ms)
    met = challenge(kind)
    ours.challenged(visit, first, met, now_ms)
    assert ours.instead(visit, first, met, now_ms, 0.0) is None
    ours.buys(visit.identity, first, met, now_ms)
    ours.ended(first, REQUEST)
    ours.answered(first, solution(first, kind, visit, jar(value)), PAGE, response(jar(value)), now_ms)
    return ours.visit(state("next"), JOB, now_ms)


def written(ours: Identities, now_ms: int = NOW) -> list[Outgoing]:
    """Return what goes to the topic."""
    outcome = ours.written(Done(), now_ms)
    assert isinstance(outcome, Done)
    return list(outcome.outgoing)


def records(ours: Identities, now_ms: int = NOW) -> list[SessionRecord | None]:
    """Return what goes to the topic, read."""
    return [
        None if record.value is None else session_log.read(inbound(record.value, topic=Topic.SESSIONS))
        for record in written(ours, now_ms)
    ]


def test_a_site_without_cookies_and_challenges_leaves_nothing_behind() -> None:
    """The clean page is the common one: one visitor for all, nothing kept."""
    ours = identities()
    visits = [ours.visit(state("a", site), JOB, NOW) for site in ("a.example", "b.example")]
    for visit in visits:
        ours.page(visit, state("a"), response(), NOW)
    assert visits[0] is visits[1]
    assert visits[0].jar == ()
    assert written(ours) == []


def test_a_sites_cookies_come_back_with_the_next_page() -> None:
    """One jar a site and identity; another user agent is another visitor, own cookies are nobody's."""
    ours = identities()
    ours.page(ours.visit(state("a"), JOB, NOW), state("a"), response(jar("1")), NOW)
    assert ours.visit(state("b"), JOB, NOW).jar == jar("1")
    assert ours.visit(state("b", "other.example"), JOB, NOW).jar == ()
    other = UrlJob(url=JOB.url, headers={"user-AGENT": "Mine/1"})
    assert ours.visit(state("b"), other, NOW).jar == ()
    assert ours.visit(state("b"), other, NOW).identity != ours.visit(state("b"), JOB, NOW).identity
    for headers in ({"Cookie": "a=1"}, {"authorization": "Basic x"}):
        assert ours.visit(state("b"), UrlJob(url=JOB.url, headers=headers), NOW) == Visit(identity=None)
    assert ours.visit(state("b"), UrlJob(url=f"http://u:p@{SITE}/"), NOW).identity is None


def test_an_exchange_changes_only_the_cookies_that_it_changed() -> None:
    """Answers that cross each other do not undo each other."""
    sent = jar("1", "2", "3")
    got = (sent[0], Cookie(name="sid1", value="new", domain=SITE))
    meanwhile = (*jar("1", "2", "3"), Cookie(name="more", value="4", domain=SITE))
    assert {c.name: c.value for c in cookies.merged(meanwhile, sent, got)} == {
        "sid": "1",
        "sid1": "new",
        "more": "4",
    }
    assert cookies.merged(meanwhile, sent, sent) is meanwhile


def test_a_jar_that_is_kept_is_bounded_and_the_newest_stay() -> None:
    """Memory is bounded whatever a site sets."""
    many = tuple(Cookie(name=f"n{n}", value="v" * 2000, domain=SITE) for n in range(20))
    kept = cookies.bounded(many)
    assert kept == many[-len(kept) :]
    assert 6 <= len(kept) <= 8


def test_who_passed_a_challenge_is_used_until_the_site_challenges_again() -> None:
    """However often and long; then the next one buys, and nobody else comes as him."""
    events: list[Event] = []
    ours = identities(events)
    assert passed(ours).jar == jar("s")
    for n in range(200):
        visit = ours.visit(state(f"j{n}"), JOB, NOW + n * 60_000)
        assert visit.jar == jar("s")
        ours.page(visit, state(f"j{n}"), response(visit.jar), NOW + n * 60_000)
    later = NOW + 200 * 60_000
    visit = ours.visit(state("again"), JOB, later)
    ours.challenged(visit, state("again"), challenge(CLEARANCE), later)
    assert ours.instead(visit, state("again"), challenge(CLEARANCE), later, 0.0) is None
    assert ours.visit(state("k"), JOB, later).jar == ()
    assert [type(event) for event in events] == [SessionPassed, SessionRetired]


def test_a_challenge_of_another_kind_takes_only_what_it_took() -> None:
    """A clearance opens what it opens while a token's grace is over, and the other way round."""
    ours = identities()
    passed(ours)
    visit = passed(ours, TOKEN, value="t")
    assert visit.session is not None
    assert visit.session.passed == {"token", "aws_waf"}
    ours.challenged(visit, state("k"), challenge(TOKEN), NOW)
    after = ours.visit(state("l"), JOB, NOW)
    assert after.session is not None
    assert after.session.passed == {"aws_waf"}


def test_a_clearance_does_not_bring_another_visitors_cookies_along() -> None:
    """Who solved for it came as nobody, with a cookie of his own: what a token opened stays open."""
    ours = identities()
    token, clearance = state("token"), state("clearance")
    nobody = ours.visit(token, JOB, NOW)
    for of, kind in ((token, TOKEN), (clearance, CLEARANCE)):
        ours.challenged(nobody, of, challenge(kind), NOW)
        ours.buys(nobody.identity, of, challenge(kind), NOW)
    ours.answered(token, solution(token, TOKEN, nobody), PAGE, response(jar("verified")), NOW)
    cleared = (*jar("nobody's"), *jar("let in", name="aws-waf-token"))
    ours.answered(clearance, solution(clearance, CLEARANCE, nobody), PAGE, response(cleared), NOW)
    kept = cookies.by_name(ours.visit(state("next"), JOB, NOW).jar)
    assert kept == {"sid": "verified", "aws-waf-token": "let in"}


def test_a_clearance_keeps_its_user_agent() -> None:
    """A token that was solved as somebody else leaves it, a clearance for another one takes its place."""
    ours = identities()

    def lands(kind: ChallengeKind, agent: str | None) -> Session:
        of = state(f"{kind} {agent}")
        visit = ours.visit(of, JOB, NOW)
        asked = solution(of, kind, visit)
        answer = CaptchaSolution(status=asked.status, request=asked.request, user_agent=agent)
        ours.buys(visit.identity, of, challenge(kind), NOW)
        ours.answered(of, answer, PAGE, response(jar("v")), NOW)
        session = ours.visit(state("next"), JOB, NOW).session
        assert session is not None
        return session

    assert lands(TOKEN, "T/1").user_agent == "T/1"
    assert (lands(CLEARANCE, "C/1").user_agent, lands(TOKEN, "T/2").user_agent) == ("C/1", "C/1")
    other = lands(ChallengeKind.DATADOME, "D/1")
    assert other.user_agent == "D/1"
    assert other.passed == {"datadome", "token"}
    assert lands(ChallengeKind.DATADOME, "D/1").passed == {"datadome", "token"}


def test_a_late_challenge_does_not_harm_who_passed_meanwhile() -> None:
    """A job that was challenged as nobody comes back as him; it buys nothing."""
    ours = identities()
    late = ours.visit(state("late"), JOB, NOW)
    passed(ours)
    ours.challenged(late, state("late"), challenge(CLEARANCE), NOW)
    assert isinstance(ours.instead(late, state("late"), challenge(CLEARANCE), NOW, 0.0), Defer)
    assert ours.visit(state("late"), JOB, NOW).jar == jar("s")


def test_cookies_that_nobody_was_given_do_not_replace_a_session() -> None:
    """A page that was asked for as nobody brings cookies after somebody passed: they are not his."""
    ours = identities()
    nobody = ours.visit(state("late"), JOB, NOW)
    passed(ours)
    ours.page(nobody, state("late"), response(jar("other")), NOW)
    assert ours.visit(state("next"), JOB, NOW).jar == jar("s")


def test_blocks_and_errors_retire_a_session_and_pages_heal_it() -> None:
    """The score: three blocks, or six errors; a dead proxy faster; half a point back for a page."""

    def after(*classes: ErrorClass, of_proxy: bool = False) -> Retired | None:
        one = session(passed=True)
        return [one.failed(POLICY, each, of_proxy=of_proxy) for each in classes][-1]

    assert after(*[ErrorClass.BLOCKED] * 2) is None
    assert after(*[ErrorClass.BLOCKED] * 3) is Retired.BLOCKED
    assert after(*[ErrorClass.NETWORK] * 5) is None
    assert after(*[ErrorClass.NETWORK] * 6) is Retired.BLOCKED
    assert after(*[ErrorClass.NETWORK] * 2, of_proxy=True) is Retired.BLOCKED
    healed = session(passed=True)
    for _ in range(20):
        healed.failed(POLICY, ErrorClass.NETWORK, of_proxy=False)
        assert healed.served(POLICY, NOW) is None
    assert healed.score == 0


def test_who_passed_nothing_leaves_some_day() -> None:
    """Used fifty times, or fifty minutes old; who passed does not."""
    ends = [one.served(POLICY, NOW) for one in [session()] for _ in range(50)]
    assert ends == [None] * 49 + [Retired.USED_UP]
    assert session().served(POLICY, NOW + 3_000_001) is Retired.USED_UP
    assert session(passed=True).served(POLICY, NOW + 3_000_001) is None


def test_a_retired_session_is_told_and_its_record_removed() -> None:
    """A restart must not bring it back."""
    events: list[Event] = []
    ours = identities(events)
    visit = passed(ours)
    assert records(ours)[0] is not None
    refused = Retry(error_class=ErrorClass.BLOCKED, message="403")
    for _ in range(3):
        ours.failed(visit, state("x"), refused, of_proxy=False)
    assert records(ours) == [None]
    assert isinstance(events[-1], SessionRetired)
    assert events[-1].reason == "blocked"
    assert ours.visit(state("y"), JOB, NOW).session is None


def test_a_session_is_forgotten_a_day_after_it_passed() -> None:
    """Nothing is kept for ever."""
    ours = identities()
    assert passed(ours).session is not None
    assert ours.visit(state("n"), JOB, NOW + 86_400_000).session is None


def test_a_record_brings_cookies_agent_proxy_and_lease_to_another_fetcher() -> None:
    """What one knows the next one knows, minus the time that has passed (M6, T1)."""
    one, other = identities(), identities()
    passed(one)
    second = state("second")
    one.buys(one.visit(second, JOB, NOW).identity, second, challenge(TOKEN), NOW)
    (record,) = written(one)
    assert record.value is not None
    assert (record.site, record.key) == (SITE, f"{SITE} {one.visit(second, JOB, NOW).identity}".encode())
    other.learn(inbound(record.value, topic=Topic.SESSIONS, timestamp_ms=NOW), NOW + 10_000)
    visit = other.visit(state("z"), JOB, NOW + 10_000)
    assert visit.jar == jar("s")
    assert isinstance(other.instead(visit, state("z"), challenge(TOKEN), NOW + 10_000, 0.0), Defer)
    # The job that leads may ask again: it is the redo of a crash, under the same request id (M4).
    assert other.instead(visit, second, challenge(TOKEN), NOW + 10_000, 0.0) is None
    expired = NOW + 86_400_000
    late = identities()
    late.learn(inbound(record.value, topic=Topic.SESSIONS, timestamp_ms=NOW), expired)
    assert late.visit(state("z"), JOB, expired).session is None
    assert late.instead(visit, state("z"), challenge(TOKEN), expired, 0.0) is None
    with pytest.raises(RecordError):
        other.learn(inbound("{", topic=Topic.SESSIONS), NOW)


def test_a_lease_stands_before_the_request_and_ends_with_any_answer() -> None:
    """A crash between the two never buys twice (M7)."""
    ours = identities()
    first = state("first")
    visit = ours.visit(first, JOB, NOW)
    ours.challenged(visit, first, challenge(CLEARANCE), NOW)
    ours.buys(visit.identity, first, challenge(CLEARANCE), NOW)
    outcome = ours.written(REQUEST, NOW)
    assert isinstance(outcome, Done)
    assert [record.topic for record in outcome.outgoing] == [Topic.SESSIONS, Topic.CAPTCHA_REQUESTS]
    ours.answered(first, solution(first, CLEARANCE, visit), REFUSED, None, NOW)
    after = ours.written(REFUSED, NOW)
    assert isinstance(after, Retry)
    assert [record.value for record in after.besides] == [None]
    assert ours.instead(visit, state("k"), challenge(CLEARANCE), NOW, 0.0) is None


def test_who_leads_and_ends_without_a_request_leads_no_longer() -> None:
    """A redo that finds the page open, or the job's deadline over, leaves nobody waiting."""
    ours = identities()
    first = state("first")
    ours.buys(ours.visit(first, JOB, NOW).identity, first, challenge(CLEARANCE), NOW)
    ours.ended(first, Defer(delay_s=2.0, message=""))
    assert ours.instead(ours.visit(state("k"), JOB, NOW), state("k"), challenge(CLEARANCE), NOW, 0.0)
    written(ours)
    dead = Dead(reason=Reason.DEADLINE, error_class=ErrorClass.REFUSED, message="")
    ours.ended(first, dead)
    after = ours.written(dead, NOW)
    assert isinstance(after, Dead)
    assert [record.value for record in after.besides] == [None]


@pytest.mark.parametrize("read", [True, False], ids=["before the answer", "after the answer"])
def test_a_lease_that_a_fetcher_left_which_stood_still_ends_with_the_copys_answer(*, read: bool) -> None:
    """Whoever reads it, before or after that answer has come, waits for nobody (C5, M7)."""
    stood_still, owner = identities(), identities()
    first, kind = state("first"), challenge(CLEARANCE)
    visit = stood_still.visit(first, JOB, NOW)
    stood_still.buys(visit.identity, first, kind, NOW)
    (late,) = written(stood_still)
    assert late.value is not None
    if read:
        owner.learn(inbound(late.value, topic=Topic.SESSIONS, timestamp_ms=NOW), NOW)
        assert owner.instead(visit, state("k"), kind, NOW, 0.0)
    owner.copied(first, solution(first, CLEARANCE, visit))
    assert owner.instead(visit, state("k"), kind, NOW, 0.0) is None
    (known,) = written(owner)
    assert (known.key, known.value) == (late.key, None)


def test_nobody_is_sent_to_be_challenged_in_vain_while_a_solve_is_under_way() -> None:
    """After three challenges in a row jobs wait without asking; one page, and they are sent again."""
    ours = identities()
    first, fourth = state("j0"), state("j4")
    visit = ours.visit(first, JOB, NOW)
    for n in range(3):
        assert ours.held(fourth, JOB, NOW, 0.0) is None
        ours.challenged(visit, state(f"j{n}"), challenge(CLEARANCE), NOW)
        if ours.instead(visit, state(f"j{n}"), challenge(CLEARANCE), NOW, 0.0) is None:
            ours.buys(visit.identity, state(f"j{n}"), challenge(CLEARANCE), NOW)
    held = ours.held(fourth, JOB, NOW, 0.0)
    assert held is not None
    assert 2 <= held.delay_s <= 60
    assert ours.held(first, JOB, NOW, 0.0) is None
    ours.page(visit, state("open"), response(), NOW)
    assert ours.held(fourth, JOB, NOW, 0.0) is None


def test_the_pool_is_bounded_and_keeps_what_was_paid_for() -> None:
    """Beyond the bound those that passed nothing go first, then the least recently used."""
    pool = SessionPool(most=3)
    for site in "abc":
        pool.put(session(site=site, passed=site == "a"))
    pool.put(session(site="d"))
    assert [pool.get(site, "i", NOW) is not None for site in "abcd"] == [True, False, True, True]
    for site in "efg":
        pool.put(session(site=site, passed=True))
    assert len(pool) == 3
    assert pool.get("g", "i", NOW) is not None
    crowd = SessionPool(most=100, of_a_site=5)
    for n in range(30):
        crowd.put(session(identity=f"i{n}", passed=n == 0))
    assert len(crowd) == 5
    assert crowd.get(SITE, "i0", NOW) is not None


def test_a_session_whose_proxy_is_not_the_way_any_more_ends_with_it() -> None:
    """Kept, it would have every challenged job wait for it, and nobody would ever buy."""
    events: list[Event] = []
    ours = identities(events)
    visit = passed(ours)
    assert records(ours)[0] is not None
    next_up = state("next")
    nobody = ours.moved(visit, next_up, JOB)
    assert (nobody.session, nobody.jar, nobody.identity) == (None, (), visit.identity)
    assert records(ours) == [None]
    assert isinstance(events[-1], SessionRetired)
    assert events[-1].reason == "proxy_changed"
    ours.challenged(nobody, next_up, challenge(CLEARANCE), NOW)
    assert ours.instead(nobody, next_up, challenge(CLEARANCE), NOW, 0.0) is None


def test_a_session_belongs_to_the_proxy_that_let_it_in() -> None:
    """Its proxy may leave the list while it is solved for, and another one hand the answer in."""
    ours = identities()
    first = state("first")
    visit = ours.visit(first, JOB, NOW)
    ours.buys(visit.identity, first, challenge(TOKEN), NOW)
    brought = response(jar("s"), proxy_id="other")
    ours.answered(first, solution(first, TOKEN, visit), PAGE, brought, NOW)
    session = ours.visit(state("next"), JOB, NOW).session
    assert session is not None
    assert session.proxy_id == "other"


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "POST", "body": "user=alice&password=x"},
        {"body": "user=alice"},
        {"method": "delete"},
        {"headers": {"X-Access-Token": "t"}},
        {"headers": {"Api-Key": "k"}},
        {"headers": {"User-Agent": "Mine/1", "X-Whatever": "alice"}},
    ],
)
def test_what_a_site_sets_on_somebodys_own_job_is_nobody_elses(fields: dict[str, Any]) -> None:
    """A login's cookie never goes along with another job, and a paid session never with a login."""
    ours = identities()
    own = UrlJob(url=JOB.url, **fields)
    login = ours.visit(state("login"), own, NOW)
    ours.page(login, state("login"), response(jar("ALICE")), NOW)
    assert ours.visit(state("next"), JOB, NOW).jar == ()
    assert passed(ours).jar == jar("s")
    assert ours.visit(state("login"), own, NOW) == Visit(identity=None)


def test_a_note_of_a_visitor_ends_with_the_partition() -> None:
    """M6: one that an exception kept from being written would remove the next owner's record."""
    ours = identities()
    passed(ours)
    ours.forget(lambda site: site == SITE)
    assert written(ours) == []
    passed(ours)
    ours.forget(lambda site: site != SITE)
    assert len(written(ours)) == 1
