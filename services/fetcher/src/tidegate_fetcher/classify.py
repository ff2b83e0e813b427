"""What an answer means for its job. Pure.

Challenges are looked for first (``detection``); this judges what is left. Which class is tried again, and
how often, is the runtime's business (``tidegate.consume.retries``).
"""

from email.utils import parsedate_to_datetime

from tidegate.outcome import Dead, Defer, ErrorClass, Outcome, Retry
from tidegate.records import JobState
from tidegate.sites import without_credentials
from tidegate.topics import SHORTEST_DELAY_S

from tidegate_fetcher.detection import Block
from tidegate_fetcher.exchange import ExchangeError, Headers, RefusedError, Response, RulesUnknownError

_MAX_DIGITS = 12


def failure(response: Response, max_retries: int | None, state: JobState) -> Retry | None:
    """Return how an answer without a challenge failed; None where it is a page.

    429 asks for patience, 403 is a block, 5xx is the site's trouble, 407 the proxy's. Everything else is
    an answer: a 404 is a page row with its status.
    """
    status = response.status
    after_s = None
    if status == 429:
        error_class, sentence = ErrorClass.RATE_LIMITED, "The site asked us to slow down (429)."
        after_s = retry_after_s(response.headers)
    elif status == 403:
        error_class, sentence = ErrorClass.BLOCKED, "The site refused us (403), with no challenge to solve."
    elif status >= 500:
        error_class, sentence = ErrorClass.SERVER_ERROR, f"The site failed ({status})."
        after_s = retry_after_s(response.headers) if status == 503 else None
    elif status == 407:
        error_class, sentence = ErrorClass.NETWORK, "The proxy wants other credentials (407)."
    else:
        return None
    return Retry(
        error_class=error_class,
        message=sentence,
        after_s=after_s,
        max_retries=max_retries,
        last_status=status,
        final_url=without_credentials(str(response.url)),
        state=state,
    )


def blocked(block: Block, response: Response, max_retries: int | None, state: JobState) -> Retry:
    """Return the retry of a page that no solver opens: another way out may see another page."""
    return Retry(
        error_class=ErrorClass.BLOCKED,
        message=block.message,
        after_s=retry_after_s(response.headers),
        max_retries=max_retries,
        last_status=response.status,
        final_url=without_credentials(str(response.url)),
        state=state,
    )


def of_error(error: ExchangeError, max_retries: int | None, state: JobState) -> Outcome:
    """Return the outcome of a request that brought no answer."""
    final_url = None if error.url is None else without_credentials(str(error.url))
    if isinstance(error, RefusedError):
        return Dead(
            reason=error.reason,
            error_class=ErrorClass.REFUSED,
            message=error.message,
            last_status=error.status,
            final_url=final_url,
            state=state,
        )
    error_class, after_s = ErrorClass.NETWORK, None
    if isinstance(error, RulesUnknownError):
        error_class = ErrorClass.RATE_LIMITED if error.status == 429 else ErrorClass.SERVER_ERROR
        after_s = error.after_s
    return Retry(
        error_class=error_class,
        message=error.message,
        after_s=after_s,
        max_retries=max_retries,
        last_status=error.status,
        final_url=final_url,
        state=state,
    )


def stood_still(state: JobState) -> Defer:
    """Return the deferral of a job whose request we failed ourselves.

    It costs no attempt, and the hop stays: whoever took the job over meanwhile has a copy of it, and one that
    went on with another hop would buy a solve of its own (M4).
    """
    return Defer(delay_s=SHORTEST_DELAY_S, message="This fetcher stood still while it asked.", state=state)


def solve_failed(
    state: JobState, max_retries: int | None, message: str, response: Response | None = None
) -> Retry:
    """Return the retry of a job whose solve brought nothing: a fresh fetch after a delay."""
    return Retry(
        error_class=ErrorClass.SOLVE_FAILED,
        message=message,
        max_retries=max_retries,
        last_status=None if response is None else response.status,
        final_url=None if response is None else without_credentials(str(response.url)),
        state=state,
    )


def retry_after_s(headers: Headers) -> float | None:
    """Return the seconds of a Retry-After header; a date counts from the answer's own Date (T1)."""
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:_MAX_DIGITS])
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date") or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, wait.total_seconds())
