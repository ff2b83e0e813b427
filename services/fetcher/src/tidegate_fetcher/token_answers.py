"""What a site's answer to a token's form means: a refusal, the page, or "go on, you are in". Pure."""

from tidegate_fetcher.exchange import Request, Response
from tidegate_fetcher.tasks import ResumeTask

# Answers to a token's form that refuse the token rather than show a page.
_TOKEN_REFUSED = frozenset({400, 401, 403, 406, 409, 422})


def refuses(task: ResumeTask, answer: Response) -> bool:
    """Say whether the answer to a token's form is no page, but a refusal.

    At the page's own address a 404 may well be the page; at the form's it is the form that is not there.
    """
    if answer.status in _TOKEN_REFUSED:
        return True
    return elsewhere(task, answer) and 400 <= answer.status < 500 and answer.status != 429


def asks_again(task: ResumeTask, submit: Request, answer: Response) -> bool:
    """Say whether the form's answer is something else than the page, so that the page is asked for again.

    It is where the answer stands elsewhere than the job's URL (its query aside) and brought cookies, as
    sites do that say "ok" and let the visitor in by a cookie. A job that is not a GET is asked again
    whenever cookies came: what answers a form cannot be what answers a POST of the job's.
    """
    if answer.jar == submit.jar:
        return False
    return elsewhere(task, answer) or task.job.method.upper() != "GET"


def elsewhere(task: ResumeTask, answer: Response) -> bool:
    """Say whether an answer stands elsewhere than the job's URL, its query aside."""
    return answer.url.with_query(None) != task.url.with_query(None)
