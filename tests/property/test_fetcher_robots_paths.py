"""robots.txt: looking at how paths begin changes no verdict."""

from hypothesis import given, settings
from hypothesis import strategies as st
from protego import Protego
from tidegate_fetcher.robots_rules import read

LINE = st.one_of(
    st.sampled_from(["User-agent: *", "User-agent: tidegate", "Disallow:", "", "# /a", "Sitemap: /a"]),
    st.builds(
        lambda word, mark, path: f"{word}{mark}{path}",
        st.sampled_from(["Disallow", "disalow", "Allow", "DISALLOW "]),
        st.sampled_from([": ", ":", " "]),
        st.text(alphabet="/abA*$%61.?=-é ", max_size=8),
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(LINE, max_size=8), st.text(alphabet="/abA%61.?=-", max_size=8))
def test_the_short_way_says_what_the_whole_rules_say(lines: list[str], rest: str) -> None:
    """A path that is let through by its beginning would have been let through by the rules."""
    text, path = "\n".join(["User-agent: *", *lines]), f"/{rest}"
    url = f"https://a.example{path}"
    whole = Protego.parse(text).can_fetch(url, "tidegate")
    assert read(text.encode(), "Tidegate/0.1").allows(path, url, "Tidegate/0.1") == whole
