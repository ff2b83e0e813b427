"""What sites made of the answers that were bought: into the routing, and back to who sold them.

A provider is told within the time for which it wants to know, once, and only where its own bookkeeping takes
such a report. A bad word is withheld where a site refuses all that comes from it: then it may well be our
way of handing answers in, and vendors bar who complains of everything.
"""

from collections import OrderedDict

from tidegate import records
from tidegate.captcha_records import SolutionVerdict
from tidegate.clock import BrokerClock
from tidegate.events import Emit
from tidegate.records import Inbound

from tidegate_solver import wire
from tidegate_solver.events import AnswerJudged
from tidegate_solver.market import Market, Member

_VERDICT = records.decoder(SolutionVerdict)
_MOST_REMEMBERED = 10_000


def decode_verdict(record: Inbound) -> SolutionVerdict:
    """Read a verdict. Raises RecordError where it is none."""
    return records.decode(_VERDICT, record.value, "a verdict on a solution")


class Verdicts:
    """Takes verdicts; remembers the last 10,000, so that one that is delivered twice counts once."""

    def __init__(self, market: Market, broker_clock: BrokerClock, emit: Emit, *, reports: bool) -> None:
        self._market = market
        self._broker_clock = broker_clock
        self._emit = emit
        self._reports = reports
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def take(self, verdict: SolutionVerdict) -> None:
        """Count a verdict and report it."""
        member = self._market.members.get(verdict.provider)
        if verdict.request_id in self._seen or member is None:
            return
        self._seen[verdict.request_id] = None
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        self._market.judged(member, verdict.site, verdict.kind, accepted=verdict.accepted)
        reported = await self._report(member, verdict)
        self._emit(
            AnswerJudged(
                request_id=verdict.request_id,
                provider=member.name,
                site=verdict.site,
                kind=verdict.kind,
                accepted=verdict.accepted,
                reported=reported,
            )
        )

    async def _report(self, member: Member, verdict: SolutionVerdict) -> str:
        """Tell the provider, if it wants to know; return what became of that."""
        provider, good = member.provider, verdict.accepted
        if not self._reports or not provider.takes_reports(verdict.kind, good=good):
            return "not_wanted"
        age_s = (self._broker_clock.now_ms() - verdict.solved_at_ms) / 1000
        if age_s > provider.profile.reports.window_s:
            return "too_late"
        if not good and self._market.is_refusing(member, verdict.site, verdict.kind):
            return "withheld"
        refused = await provider.report(verdict.task_id, verdict.kind, good=good)
        match refused:
            case None:
                return "good" if good else "bad"
            case wire.Rejected(code=code):
                return code
            case wire.InDoubt():
                return "no_answer"
