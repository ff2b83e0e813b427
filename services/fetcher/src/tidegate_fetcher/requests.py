"""The requests that are sent: a job's own, and the one that brings a token back. Pure."""

from base64 import b64encode
from urllib.parse import urlencode

from multidict import CIMultiDict
from tidegate.captcha_records import CaptchaRequest, ChallengeForm
from tidegate.records import UrlJob
from yarl import URL

from tidegate_fetcher import cookies
from tidegate_fetcher.cookies import Jar
from tidegate_fetcher.exchange import Request

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
_PRIVATE = frozenset({"authorization", "x-api-key", "x-auth-token", "x-csrf-token", "x-xsrf-token"})


def of_job(job: UrlJob, url: URL, user_agent: str) -> Request:
    """Return the job's own request.

    A Cookie header becomes cookies of the job's host, user and password of the URL an Authorization header
    unless the job has one; both go to the job's origin only. A body without a Content-Type is plain text.
    """
    headers = CIMultiDict({"User-Agent": user_agent, "Accept": ACCEPT})
    private: CIMultiDict[str] = CIMultiDict()
    jar: Jar = ()
    if job.headers:
        for name, value in job.headers.items():
            lower = name.lower()
            if lower == "cookie":
                jar = cookies.given(value, url)
            elif lower in _PRIVATE:
                private[name] = value
            elif lower not in _IGNORED and not lower.startswith("proxy-"):
                headers[name] = value
    if "@" in job.url and "Authorization" not in private:
        with_user = URL(job.url)
        if with_user.user is not None:
            pair = f"{with_user.user}:{with_user.password or ''}"
            private["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
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


def of_token(
    job: UrlJob, url: URL, request: CaptchaRequest, form: ChallengeForm, *, token: str, user_agent: str
) -> Request:
    """Return the request that submits the page's own form with the token in it.

    It goes out as a browser would send it from that page, with the cookies of who met the challenge.
    """
    page = URL(request.challenge.page_url)
    action = URL(form.action)
    again = resumed(job, url, user_agent, request.identity.cookies)
    headers = CIMultiDict(again.headers)
    for name in ("Content-Type", "Content-Encoding"):
        headers.popall(name, None)
    headers["Referer"] = str(page.with_user(None).with_fragment(None))
    pairs = filled(form, token)
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


def filled(form: ChallengeForm, token: str) -> list[tuple[str, str]]:
    """Return the form's fields with the token in those that take it, which are added where they lack."""
    pairs = [(name, token if name in form.token_fields else value) for name, value in form.fields]
    present = {name for name, _ in form.fields}
    pairs.extend((name, token) for name in form.token_fields if name not in present)
    return pairs
