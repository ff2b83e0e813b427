"""The requests that are sent: a job's own, and the one that brings an answer back. Pure."""

from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import urlencode

from multidict import CIMultiDict
from tidegate import host_policy
from tidegate.captcha_records import CaptchaRequest, CaptchaSolution, ChallengeForm
from tidegate.challenge_kinds import FACTS, AnswerKind
from tidegate.host_policy import SubmitRecipe
from tidegate.records import UrlJob
from yarl import URL

from tidegate_fetcher import cookies
from tidegate_fetcher.cookies import Jar
from tidegate_fetcher.exchange import Request
from tidegate_fetcher.field_values import is_sendable
from tidegate_fetcher.sessions import NOBODY, Visit

ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

# Of the connection, not of the job: the client writes them itself, so those of a job are left out. A
# browser's "copy as cURL" brings most of them along.
_IGNORED = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# What the name of a header with a credential in it contains; sites name their own as they like.
_SECRET = ("auth", "token", "secret", "password", "session", "apikey", "api-key", "access-key", "jwt")
# What every visitor sends; anything else may say who somebody is.
_HARMLESS = _IGNORED | {
    "cache-control",
    "dnt",
    "pragma",
    "priority",
    "referer",
    "upgrade-insecure-requests",
    "user-agent",
}
_HARMLESS_STARTS = ("accept", "sec-ch-", "sec-fetch-", "sec-gpc", "proxy-")


def is_personal(job: UrlJob) -> bool:
    """Say whether a job may be somebody's own: it shares no session with others.

    It is where it brings cookies or credentials, and where it might: with a header that not everybody sends,
    a body, or a method that changes things. What a site sets on a login is the user's, who would otherwise
    ask for everybody's next pages.
    """
    if "@" in job.url or job.body is not None or job.method.upper() not in {"GET", "HEAD"}:
        return True
    return not all(_is_harmless(name.lower()) for name in job.headers)


def _is_harmless(lower: str) -> bool:
    return lower in _HARMLESS or lower.startswith(_HARMLESS_STARTS)


def _is_private(lower: str) -> bool:
    return any(part in lower for part in _SECRET)


def of_job(job: UrlJob, url: URL, user_agent: str, visit: Visit = NOBODY) -> Request:
    """Return the job's own request, as that of a visitor.

    A Cookie header becomes cookies of the job's host, which an https job's only https sees; its port may
    differ, as in browsers. User and password of the URL become an Authorization header unless the job has
    one, and only the job's origin sees it. A body without a Content-Type is plain text.
    """
    headers = CIMultiDict({"User-Agent": user_agent, "Accept": ACCEPT})
    private: CIMultiDict[str] = CIMultiDict()
    jar: Jar = visit.jar
    if job.headers:
        for name, value in job.headers.items():
            lower = name.lower()
            if lower == "cookie":
                jar = cookies.given(value, url)
            elif lower in _IGNORED or lower.startswith("proxy-"):
                continue
            elif _is_private(lower):
                private[name] = value
            else:
                headers[name] = value
    if "@" in job.url and "Authorization" not in private:
        with_user = URL(job.url)
        if with_user.user is not None:
            pair = f"{with_user.user}:{with_user.password or ''}"
            private["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
    if visit.session is not None and visit.session.user_agent is not None:
        headers["User-Agent"] = visit.session.user_agent
    body = None if job.body is None else job.body.encode()
    if body is not None and "Content-Type" not in headers:
        headers["Content-Type"] = "text/plain; charset=utf-8"
    return Request(
        url=url,
        method=job.method.upper(),
        headers=headers,
        private=private,
        body=body,
        jar=jar,
        proxy=job.proxy,
        robots=True,
    )


def resumed(job: UrlJob, url: URL, user_agent: str, jar: Jar) -> Request:
    """Return the job's own request again, as who passed the challenge."""
    first = of_job(job, url, user_agent)
    headers = CIMultiDict(first.headers)
    headers["User-Agent"] = user_agent
    return Request(
        url=url,
        method=first.method,
        headers=headers,
        private=first.private,
        body=first.body,
        jar=jar,
        proxy=first.proxy,
    )


def is_clearance(solution: CaptchaSolution) -> bool:
    """Say whether an answer is cookies, which hold for the address alone that they were solved through."""
    return FACTS[solution.request.challenge.kind].answer is AnswerKind.COOKIES


def of_answer(  # noqa: PLR0911 -- one condition after the other
    job: UrlJob,
    url: URL,
    solution: CaptchaSolution,
    user_agent: str,
    recipe: SubmitRecipe | None = None,
) -> Request | None:
    """Return the request that hands an answer in; None where the solution is not what its kind needs.

    That is, too, where no header can hold its cookies or its user agent.

    A clearance is cookies, with which the job's own request is sent again. Everything else goes through the
    page's own form: a token or the text of an image into the fields that take it, an answer of several parts
    each into its own. The host's ``recipe`` goes before the form.
    """
    if not is_sendable(user_agent):
        return None
    asked = solution.request
    challenge = asked.challenge
    facts = FACTS[challenge.kind]
    if is_clearance(solution):
        given = solution.cookies
        if not given or not all(map(is_sendable, (*given, *given.values()))):
            return None
        jar = cookies.cleared(asked.identity.cookies, URL(challenge.page_url), given)
        return resumed(job, url, user_agent, jar)
    form = challenge.form
    if recipe is not None or form is None:
        return None if recipe is None else _of_recipe(job, url, solution, recipe, user_agent)
    if facts.answer is AnswerKind.VALUES:
        known = {**challenge.params, **solution.values}
        if not solution.values or not all(name in known for name in facts.fields):
            return None
        answer = {name: known[name] for name in facts.fields}
    elif solution.token is not None:
        answer = dict.fromkeys(form.token_fields, solution.token)
    else:
        return None
    return of_form(job, url, asked, form, answer=answer, user_agent=user_agent)


def _of_recipe(
    job: UrlJob, url: URL, solution: CaptchaSolution, recipe: SubmitRecipe, user_agent: str
) -> Request | None:
    challenge = solution.request.challenge
    answer = {**challenge.params, **solution.values}
    if solution.token is not None:
        answer["token"] = solution.token
    elif not solution.values:
        return None
    fields = host_policy.filled(recipe, answer)
    if fields is None:
        return None
    action = URL(challenge.page_url).join(URL(recipe.url))
    form = ChallengeForm(action=str(action), method=recipe.method, fields=tuple(fields), token_fields=())
    return of_form(job, url, solution.request, form, answer={}, user_agent=user_agent)


def of_form(
    job: UrlJob,
    url: URL,
    request: CaptchaRequest,
    form: ChallengeForm,
    *,
    answer: Mapping[str, str],
    user_agent: str,
) -> Request:
    """Return the request that submits the page's own form with the answer's fields in it.

    It goes out as a browser would send it from that page, with the cookies of who met the challenge.
    """
    page = URL(request.challenge.page_url)
    action = URL(form.action)
    again = resumed(job, url, user_agent, request.identity.cookies)
    headers = CIMultiDict(again.headers)
    for name in ("Content-Type", "Content-Encoding"):
        headers.popall(name, None)
    headers["Referer"] = str(page.with_user(None).with_fragment(None))
    pairs = filled(form, answer)
    body: bytes | None = None
    if form.method == "POST":
        headers["Origin"] = str(page.origin())
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(pairs).encode()
    else:
        action = URL(f"{action.with_query(None)}?{urlencode(pairs)}", encoded=True)
    private = again.private if action.origin() == url.origin() else {}
    return Request(
        url=action,
        method=form.method,
        headers=headers,
        private=private,
        body=body,
        jar=request.identity.cookies,
        proxy=job.proxy,
    )


def filled(form: ChallengeForm, answer: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the form's fields with the answer in those that take it, which are added where they lack."""
    pairs = [(name, answer.get(name, value)) for name, value in form.fields]
    present = {name for name, _ in form.fields}
    pairs.extend((name, value) for name, value in answer.items() if name not in present)
    return pairs
