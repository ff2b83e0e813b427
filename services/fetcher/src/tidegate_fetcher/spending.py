"""Which budgets are used up, as the solver's refusals told; no more is asked of them for a while. Pure.

The ledger decides about every cent, in the solver. This only spares it requests that it would refuse, and
looks again now and then: a person may have raised the limit.
"""

from collections import OrderedDict

from tidegate.captcha_records import CaptchaSolution
from tidegate.ledger.entries import Scope
from tidegate.outcome import Dead, Defer, ErrorClass, Reason
from tidegate.records import JobState

from tidegate_fetcher import run_rules

_MOST_SCOPES = 10_000
_MOST_TOLD = 200


class Spending:
    """Used-up budgets, each for ``recheck_s`` seconds. ``holds``: their jobs wait instead of ending."""

    def __init__(self, *, holds: bool, recheck_s: float) -> None:
        self._holds = holds
        self._recheck_ms = int(recheck_s * 1000)
        self._until_ms: OrderedDict[Scope, int] = OrderedDict()

    def refused(self, state: JobState, solution: CaptchaSolution, now_ms: int) -> Dead | Defer:
        """Take note of a refusal, and return what becomes of its job. ``now_ms``: broker's clock."""
        scope = solution.exhausted
        told = f": {solution.message[:_MOST_TOLD]}" if solution.message else "."
        if scope is None:
            return _ended(state, f"No money for a solve{told}")
        self._until_ms[scope] = now_ms + self._recheck_ms
        self._until_ms.move_to_end(scope)
        if len(self._until_ms) > _MOST_SCOPES:
            self._until_ms.popitem(last=False)
        return self._without(state, scope)

    def barrier(self, state: JobState, now_ms: int) -> Dead | Defer | None:
        """Return what becomes of a job that meets a challenge; None where there may be money for it."""
        for scope in _scopes(state):
            until_ms = self._until_ms.get(scope)
            if until_ms is not None and now_ms < until_ms:
                return self._without(state, scope)
        return None

    def _without(self, state: JobState, scope: Scope) -> Dead | Defer:
        sentence = f"It met a challenge, and the budget of {scope} is used up."
        if self._holds:
            return Defer(delay_s=run_rules.wait_s(state.deferrals), message=sentence, state=state)
        return _ended(state, sentence)


def _scopes(state: JobState) -> tuple[Scope, ...]:
    return tuple(
        Scope(run=run, site=site, daily=daily)
        for run in (None, state.run)
        for site in (None, state.site)
        for daily in (False, True)
    )


def _ended(state: JobState, sentence: str) -> Dead:
    return Dead(
        reason=Reason.BUDGET_EXHAUSTED, error_class=ErrorClass.CHALLENGE, message=sentence, state=state
    )
