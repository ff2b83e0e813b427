"""What a site made of an answer, as the solver is told: it pays for the next ones by it. Pure.

Only what shows it counts: the page came, or the site refused the answer. Where the way there failed (a
network error, a server error) or the answer was never handed in, nothing is said. Nor is anything said of a
refusal where the answer may have been handed in before, by an owner of the partition that died over it or as
another copy of the record: a token is good once. Nor where it was handed in through another proxy than the
challenge came through, because that one is gone: it may be good for that address alone.
"""

import msgspec
from tidegate.captcha_records import CaptchaSolution, SolutionVerdict
from tidegate.outcome import Done, ErrorClass, Outcome, Outgoing, Retry
from tidegate.records import Inbound, encode
from tidegate.topics import Topic

from tidegate_fetcher.exchange import Response


def with_verdict(
    outcome: Outcome,
    response: Response | None,
    solution: CaptchaSolution,
    record: Inbound,
    *,
    first: bool,
) -> Outcome:
    """Return the outcome of a resumed job with the verdict that it shows, if it shows one.

    ``response`` is the site's last answer, None where it was not asked; ``record`` is the solution's.
    ``first``: no earlier owner of its partition can have handed it in.
    """
    if response is None or solution.provider is None or solution.task_id is None:
        return outcome
    match outcome:
        case Done(outgoing=(Outgoing(topic=Topic.PAGES),)):
            verdict = _verdict(solution, solution.provider, solution.task_id, record, accepted=True)
            return Done((*outcome.outgoing, verdict))
        case Retry(error_class=ErrorClass.SOLVE_FAILED) if first and not solution.repeated:
            if response.proxy_id != solution.request.identity.proxy_id:
                return outcome
            verdict = _verdict(solution, solution.provider, solution.task_id, record, accepted=False)
            return msgspec.structs.replace(outcome, besides=(*outcome.besides, verdict))
        case _:
            return outcome


def _verdict(
    solution: CaptchaSolution, provider: str, task_id: str, record: Inbound, *, accepted: bool
) -> Outgoing:
    request = solution.request
    verdict = SolutionVerdict(
        request_id=request.request_id,
        site=request.state.site,
        kind=request.challenge.kind,
        provider=provider,
        task_id=task_id,
        accepted=accepted,
        solved_at_ms=record.timestamp_ms,
    )
    return Outgoing(
        topic=Topic.CAPTCHA_VERDICTS,
        site=request.state.site,
        key=request.request_id.encode(),
        value=encode(verdict),
    )
