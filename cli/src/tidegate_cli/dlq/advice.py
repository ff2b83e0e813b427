"""What to do about a dead letter, by its reason: a sentence for the person who looks at it. Pure."""

import msgspec
from tidegate.outcome import Reason


class Advice(msgspec.Struct, frozen=True):
    """``replay`` says whether a replay can end otherwise once that has been done."""

    text: str
    replay: bool = True


ADVICE: dict[Reason, Advice] = {
    Reason.NOT_A_JOB: Advice(
        "The record is neither a URL nor a job, and stays so. Mend the producer and submit it anew.", False
    ),
    Reason.NOT_A_URL: Advice("There is no URL to fetch. Mend the producer and submit it anew.", False),
    Reason.SCHEME_NOT_ALLOWED: Advice("Only http and https are fetched. Submit another URL.", False),
    Reason.JOB_TOO_LARGE: Advice(
        "Raise TIDEGATE_FETCHER__MAX_JOB_BYTES and replay, or submit a smaller job."
    ),
    Reason.BAD_STATE: Advice(
        "A record between the services could not be read. After an upgrade: replay; otherwise find out who "
        "else writes to these topics."
    ),
    Reason.UNKNOWN_VERSION: Advice("A newer version wrote it. Upgrade the services, then replay."),
    Reason.ADDRESS_REFUSED: Advice(
        "The host is at a private, loopback or reserved address. If it is a server of your own, set "
        "TIDEGATE_FETCHER__ALLOW_PRIVATE and replay."
    ),
    Reason.NOT_ALLOWED: Advice("A rule of yours forbids it. Change the rule, then replay."),
    Reason.ROBOTS: Advice("The site's robots.txt forbids it. Replay only if you have leave to ignore that."),
    Reason.SOLVE_NOT_ALLOWED: Advice(
        "A CAPTCHA stands before the page, and nobody named this host. Name it (--solve, "
        "TIDEGATE_FETCHER__SOLVE_HOSTS), then replay; that costs money."
    ),
    Reason.UNSOLVABLE: Advice(
        "No solving service could open it. Look at the solves of this site before you replay: each try costs."
    ),
    Reason.SHED: Advice("The solver had too much to do. Replay when it has caught up, at a --rate."),
    Reason.BUDGET_EXHAUSTED: Advice(
        "It would have cost more than was allowed. Replay with money left; a job whose own max_solve_cost is "
        "too low must be submitted anew."
    ),
    Reason.RETRIES_EXHAUSTED: Advice(
        "The site failed again and again: the message says how. Look at its name, the network and the proxy, "
        "or wait until it answers as it should; then replay. Of class internal, it was a fault of ours or of "
        "what the service stands on: its log says more."
    ),
    Reason.DEFERRED_TOO_LONG: Advice(
        "It had no turn in time: too many jobs of one site. Replay as many as its limit lets through before "
        "their deadline (--limit), or raise TIDEGATE_FETCHER__SITE_RATE."
    ),
    Reason.DEADLINE: Advice("It was too old when its turn came. A replay has its whole deadline again."),
    Reason.CANCELLED: Advice("Its run was cancelled. Replay it only if you want it after all."),
    Reason.BODY_TOO_LARGE: Advice(
        "The page is larger than TIDEGATE_FETCHER__MAX_BODY_BYTES. Raise that and replay, if you want it."
    ),
    Reason.TOO_MANY_REDIRECTS: Advice(
        "The site leads in circles, often to those without its cookies. Look at it, then replay or leave it."
    ),
    Reason.PARSE_ERROR: Advice(
        "The parser failed on this page. Mend the parser, then replay: the stored body is parsed again, "
        "nothing is fetched."
    ),
    Reason.UNKNOWN_PROXY: Advice(
        "The job names a proxy by an id that is not on the fetcher's list. Put it on the list, then replay; "
        "or submit the job without it."
    ),
    Reason.UNKNOWN_PARSER: Advice(
        "The parser that the job names is not installed at the storer. Install it, then replay: the stored "
        "body is parsed."
    ),
    Reason.ROW_REFUSED: Advice(
        "ClickHouse refused the row; the message has its error. Mend that, then replay."
    ),
    Reason.CRASHED_THE_SERVICE: Advice(
        "The service died each time with this record in hand, alone: look at its log at that time. Replay "
        "after a correction; if it was killed from outside each time, replay it now."
    ),
}


def advice_for(reason: str) -> Advice:
    """Return the advice; a reason of another version gets a general one."""
    try:
        return ADVICE[Reason(reason)]
    except ValueError:
        return Advice("This version does not know the reason; see the message.")
