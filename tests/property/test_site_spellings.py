"""A URL that is understood at a glance is understood as any other."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tidegate.errors import RecordError
from tidegate.sites import parse_url, site_of

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
