"""A URL that is understood at a glance is understood as any other."""

import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tidegate.errors import RecordError
from tidegate.records import UrlJob
from tidegate.sites import parse_url, plain_site_of, site_of
from tidegate_fetcher.tasks import FetchTask

_REST = st.text("ab1.:/?#@[]-~%\\ \t\n;é", max_size=24)


def taken_apart(url: str) -> str:
    """Return the site by the parts of a URL; what is wrong with it otherwise."""
    try:
        parts = parse_url(url)
        # With credentials it is never understood at a glance.
        return site_of(parts._replace(netloc=f"u@{parts.netloc.rpartition('@')[2]}").geturl())
    except RecordError as error:
        return f"{error.reason}: {error.message}"


@settings(max_examples=200)
@given(st.sampled_from(["http://", "https://", "http:", "HTTP://"]), _REST)
@example("http://", "a.b:0080?x")
@example("http://", "a:70000/")
@example("http://", "1.2/")
@example("https://", "..#")
def test_a_site_does_not_depend_on_how_it_is_found(scheme: str, rest: str) -> None:
    """Whether the URL is taken apart or not."""
    url = scheme + rest
    try:
        found = site_of(url)
    except RecordError as error:
        found = f"{error.reason}: {error.message}"
    assert found == taken_apart(url)


@settings(max_examples=300)
@given(
    st.sampled_from(["http://", "https://"]),
    st.text("ab1.-x", min_size=1, max_size=8),
    st.sampled_from(["", ":1", ":65535", ":00080"]),
    st.text("/?#[]@:%\\.;~a1F", max_size=12),
)
@example("http://", "1.2.3.256", "", "")
@example("https://", "xn--a", "", "?%zz")
@example("http://", "..", "", "#")
def test_a_url_of_the_usual_form_is_one_that_can_be_requested(
    scheme: str, host: str, port: str, rest: str
) -> None:
    """T3: so who is only sent away need not have his parsed, and what is no URL is still refused at once."""
    url = scheme + host + port + rest
    site = None
    with contextlib.suppress(RecordError):
        site = plain_site_of(url)
    if site is not None:
        assert FetchTask(job=UrlJob(url=url)).url.origin()
