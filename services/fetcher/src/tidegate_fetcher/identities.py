"""Who asks a site, and what is learnt of that: sessions, leases and their records in one place. Pure.

The handler tells it what a site answered; it says who asks next, who waits for another one's solve, and what
is to be written to ``sessions``. Jobs that are somebody's own (``requests.is_personal``) are nobody else's
business: what a site gives them is theirs, and they are given nothing.
"""

from collections.abc import Callable
from functools import lru_cache

from tidegate.captcha_records import CaptchaSolution, Challenge
from tidegate.challenge_kinds import FACTS
from tidegate.events import Emit
from tidegate.outcome import Defer, Done, Outcome, Retry
from tidegate.proxies import is_id, proxy_of
from tidegate.records import Inbound, JobState, UrlJob
from tidegate.topics import HELD, Topic

from tidegate_fetcher import cookies, session_log
from tidegate_fetcher.events import SessionPassed, SessionRetired
from tidegate_fetcher.exchange import Response
from tidegate_fetcher.requests import is_personal
from tidegate_fetcher.session_pool import SessionPool
from tidegate_fetcher.sessions import Retired, Session, SessionPolicy, Visit, identity_of
from tidegate_fetcher.single_flight import TOKEN, Flights, JobName, Visitor, group_of

# A cookie that rolls with every answer is written again after so long.
_WRITTEN_EVERY_MS = 60_000
_MISSED_S = 2.0


class Identities:
    """The visitors of all sites. ``now_ms`` is the broker's clock everywhere."""

    def __init__(
        self, pool: SessionPool, flights: Flights, policy: SessionPolicy, *, user_agent: str, emit: Emit
    ) -> None:
        self._pool = pool
        self._flights = flights
        self._policy = policy
        self._user_agent = user_agent
        self._emit = emit
        self._anybody = Visit(identity=identity_of(user_agent, None))
        self._changed: set[Visitor] = set()

    # -- before a job is sent -------------------------------------------------------------------------

    def held(self, state: JobState, job: UrlJob, now_ms: int, age_s: float) -> Defer | None:
        """Return the deferral of a job that would be challenged in vain."""
        if not len(self._flights):
            return None
        visitor = (state.site, self._who(job).identity or "")
        wait_s = self._flights.holds(visitor, _name(state), now_ms, age_s)
        return None if wait_s is None else _solving(wait_s, state)

    def concern(self, state: JobState, job: UrlJob) -> bool:
        """Say whether a job may have to wait for another one's solve, or others for its own."""
        if not len(self._flights):
            return False
        visitor = (state.site, self._who(job).identity or "")
        return self._flights.knows(visitor) or self._flights.leads(_name(state))

    def visit(self, state: JobState, job: UrlJob, now_ms: int) -> Visit:
        """Return who asks for a job's page."""
        who = self._who(job)
        if who.identity is None:
            return who
        session = self._pool.get(state.site, who.identity, now_ms)
        if session is None:
            return who
        visitor = (state.site, who.identity)
        if session.passed:
            usable = self._flights.may_use(visitor, session.passed, _name(state), now_ms)
        else:
            # Who was challenged goes as nobody: of several challenges for one visitor a site may know the
            # last.
            usable = not self._flights.knows(visitor)
        if not usable:
            return who
        return Visit(identity=who.identity, pinned=who.pinned, jar=session.jar, session=session)

    def moved(self, visit: Visit, state: JobState, job: UrlJob) -> Visit:
        """Return who asks where the way is not the session's any more: its proxy left the list, or one came.

        The session ends with that. Nobody would ever come as him again, so that nothing else could end it,
        and whoever is challenged would wait for him instead of buying.
        """
        if visit.session is not None:
            self._flights.untested((visit.session.site, visit.session.identity), _name(state))
            self._retire(visit.session, Retired.PROXY_CHANGED)
        return self._who(job)

    # -- what the site answered -----------------------------------------------------------------------

    def page(self, visit: Visit, state: JobState, response: Response, now_ms: int) -> None:
        """Take note of a page."""
        session = visit.session
        if visit.identity is None or (session is None and not response.jar and not len(self._flights)):
            return
        visitor = (state.site, visit.identity)
        self._flights.opened(visitor, () if session is None else session.passed, _name(state), now_ms)
        if session is None:
            self._begin(visit, visitor, response, now_ms)
            return
        if response.jar is not visit.jar:
            session.jar = cookies.merged(session.jar, visit.jar, response.jar)
            if session.passed and now_ms - session.published_ms >= _WRITTEN_EVERY_MS:
                self._changed.add(visitor)
        retired = session.served(self._policy, now_ms)
        if retired is not None:
            self._retire(session, retired)

    def failed(self, visit: Visit, state: JobState, outcome: Outcome, *, of_proxy: bool) -> None:
        """Take note of a try that brought neither page nor challenge; its proxy may be to blame."""
        if visit.session is None or visit.identity is None:
            return
        self._flights.untested((state.site, visit.identity), _name(state))
        if not isinstance(outcome, Retry):
            return
        retired = visit.session.failed(self._policy, outcome.error_class, of_proxy=of_proxy)
        if retired is not None:
            self._retire(visit.session, retired)

    def challenged(self, visit: Visit, state: JobState, challenge: Challenge, now_ms: int) -> None:
        """Take note of a challenge: it ends the session that had passed its like."""
        if visit.identity is None:
            return
        visitor, session = (state.site, visit.identity), visit.session
        passed = frozenset[str]() if session is None else session.passed
        if not self._flights.challenged(visitor, passed, challenge.kind, _name(state), now_ms):
            return
        assert session is not None
        session.passed -= {group_of(challenge.kind)}
        session.jar = cookies.without(session.jar, FACTS[challenge.kind].cookies)
        if not session.passed:
            self._retire(session, Retired.CHALLENGED)
        self._changed.add(visitor)

    def instead(
        self, visit: Visit, state: JobState, challenge: Challenge, now_ms: int, age_s: float
    ) -> Defer | None:
        """Return the deferral of a challenged job for which nothing is bought; None where it buys."""
        if visit.identity is None:
            return None
        visitor, name, group = (state.site, visit.identity), _name(state), group_of(challenge.kind)
        session = self._pool.get(*visitor, now_ms)
        if session is not None and session is not visit.session and group in session.passed:
            if self._flights.missed(visitor, group, name, now_ms):
                return _solving(_MISSED_S, state)
            return None
        wait_s = self._flights.follows(visitor, challenge.kind, name, now_ms, age_s)
        return None if wait_s is None else _solving(wait_s, state)

    def buys(self, identity: str | None, state: JobState, challenge: Challenge, now_ms: int) -> None:
        """Take note that a request goes to the solver: others follow it."""
        if identity is None:
            return
        visitor = (state.site, identity)
        if self._flights.leased(visitor, challenge.kind, _name(state), now_ms):
            self._changed.add(visitor)

    def answered(
        self,
        state: JobState,
        solution: CaptchaSolution,
        outcome: Outcome,
        response: Response | None,
        now_ms: int,
    ) -> None:
        """Take note of what a solution brought: a page, and a session with it, or nothing."""
        asked = solution.request
        if asked.identity.id is None:
            return
        visitor, kind = (state.site, asked.identity.id), asked.challenge.kind
        if response is None or not _has(outcome, Topic.PAGES):
            if not _has(outcome, Topic.CAPTCHA_REQUESTS):
                self._lost(_name(state))
            return
        opens = bool(response.jar)
        led = self._flights.leads(_name(state))
        if self._flights.landed(visitor, kind, _name(state), now_ms, opens=opens):
            self._keep(visitor, solution, response, now_ms)
            self._emit(SessionPassed(site=state.site, kind=kind))
        elif led:
            self._changed.add(visitor)

    def copied(self, state: JobState, solution: CaptchaSolution) -> None:
        """Take note of an answer to a copy: nobody waits for it, and what is known here is written once more.

        A fetcher that stood still writes on for a moment after its partition has gone to another. The lease
        that it leaves would have whoever reads it next wait for a solve that is over.
        """
        identity = solution.request.identity.id
        if identity is not None:
            self._lost(_name(state))
            self._changed.add((state.site, identity))

    def ended(self, state: JobState, outcome: Outcome) -> None:
        """Take note of a job's outcome: one that led, and neither asks nor comes again, leads no longer."""
        if isinstance(outcome, Defer) or not self._flights.leads(_name(state)):
            return
        if not _has(outcome, Topic.CAPTCHA_REQUESTS, *HELD.values()):
            self._lost(_name(state))

    # -- the topic ------------------------------------------------------------------------------------

    def written(self, outcome: Outcome, now_ms: int) -> Outcome:
        """Return an outcome together with the records of what has changed."""
        if not self._changed:
            return outcome
        written = []
        for visitor in sorted(self._changed):
            session = self._pool.get(*visitor, now_ms)
            if session is not None:
                session.published_ms = now_ms
            written.append(
                session_log.written(visitor, session, self._flights.leases(visitor, now_ms), now_ms)
            )
        self._changed.clear()
        return session_log.beside(outcome, tuple(written))

    def learn(self, record: Inbound, now_ms: int) -> None:
        """Take over what another fetcher knew of a visitor. Raises RecordError."""
        known = session_log.read(record)
        age_s = (now_ms - record.timestamp_ms) / 1000
        session = session_log.session_of(known, age_s, now_ms)
        if session is not None:
            self._pool.put(session)
        for solving in known.solving:
            left_ms = int((solving.left_s - max(0.0, age_s)) * 1000)
            if left_ms > 0:
                name = (solving.run, solving.job)
                self._flights.learn((known.site, known.identity), solving.group, name, now_ms, left_ms)

    def forget(self, belongs: Callable[[str], bool]) -> None:
        """Forget what is known of those sites: somebody else has them."""
        self._pool.forget(belongs)
        self._flights.forget(belongs)
        # A note that no outcome took along would remove the record of whoever has the site next.
        self._changed = {visitor for visitor in self._changed if not belongs(visitor[0])}

    # -- inside ---------------------------------------------------------------------------------------

    def _who(self, job: UrlJob) -> Visit:
        personal = is_personal(job)
        if not personal and not job.headers and job.proxy is None:
            return self._anybody
        pinned = None if job.proxy is None else _pinned(job.proxy)
        if personal:
            return Visit(identity=None, pinned=pinned is not None)
        agent = next((text for name, text in job.headers.items() if name.lower() == "user-agent"), None)
        return Visit(identity=identity_of(agent or self._user_agent, pinned), pinned=pinned is not None)

    def _begin(self, visit: Visit, visitor: Visitor, response: Response, now_ms: int) -> None:
        """Begin a session for somebody to whom a site gave cookies with a page.

        Not where the next page comes through another proxy: a cookie shown from two addresses at once is odd.
        """
        if not response.jar or (response.proxy_id is not None and not visit.pinned):
            return
        if self._flights.knows(visitor) or self._pool.get(*visitor, now_ms) is not None:
            return
        self._pool.put(
            Session(
                site=visitor[0],
                identity=visitor[1],
                proxy_id=response.proxy_id,
                jar=cookies.bounded(response.jar),
                begun_ms=now_ms,
                until_ms=now_ms + int(self._policy.max_age_s * 1000),
            )
        )

    def _keep(self, visitor: Visitor, solution: CaptchaSolution, response: Response, now_ms: int) -> None:
        """Keep what let a job in, together with what let the same visitor in before.

        A clearance holds for one user agent: a token that was solved as another one leaves it, and a further
        clearance takes its place.
        """
        asked = solution.request
        group, agent = group_of(asked.challenge.kind), solution.user_agent or asked.identity.user_agent
        before = self._pool.get(*visitor, now_ms)
        passed, jar = frozenset({group}), cookies.bounded(response.jar)
        if before is not None and before.passed:
            jar = cookies.joined(before.jar, response.jar, FACTS[asked.challenge.kind].cookies)
            cleared = before.passed - {TOKEN}
            if group == TOKEN and cleared:
                agent = before.user_agent or agent
            passed |= before.passed if agent == before.user_agent else before.passed - cleared
        self._pool.put(
            Session(
                site=visitor[0],
                identity=visitor[1],
                user_agent=agent,
                # Not that of the challenge: it may have left the list meanwhile, and another one let him in.
                proxy_id=response.proxy_id,
                jar=jar,
                passed=passed,
                begun_ms=now_ms,
                until_ms=now_ms + int(self._policy.life_s * 1000),
            )
        )
        self._changed.add(visitor)

    def _lost(self, name: JobName) -> None:
        visitor = self._flights.failed(name)
        if visitor is not None:
            self._changed.add(visitor)

    def _retire(self, session: Session, why: Retired) -> None:
        if not self._pool.drop(session):
            return
        if session.passed or why is Retired.CHALLENGED:
            self._changed.add((session.site, session.identity))
        self._emit(SessionRetired(site=session.site, reason=why, uses=session.uses))


def _name(state: JobState) -> JobName:
    return (state.run, state.id)


def _solving(wait_s: float, state: JobState) -> Defer:
    return Defer(
        delay_s=wait_s, message="Its site's challenge is being solved for another page.", state=state
    )


def _has(outcome: Outcome, *topics: Topic) -> bool:
    return isinstance(outcome, Done) and any(record.topic in topics for record in outcome.outgoing)


@lru_cache(maxsize=1024)
def _pinned(proxy: str) -> str:
    """Return the id of a job's own proxy, which it names by id or URL."""
    return proxy if is_id(proxy) else proxy_of(proxy).id
