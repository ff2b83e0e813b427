"""The demo site's pure parts: which pages there are, who may pass, what is shown, what is counted."""

from collections import Counter
from random import Random

import pytest
from tidegate.records import ChallengeKind
from tidegate_cli.crawl.demo_check import Served, choose
from tidegate_cli.demo_site import extras
from tidegate_cli.demo_site.catalog import BOUND, COMMON, Catalog
from tidegate_cli.demo_site.challenges import (
    CLEARANCES,
    INVISIBLE,
    LAYOUTS,
    ChallengePages,
    challenge_of,
    sitekeys,
    token_of,
)
from tidegate_cli.demo_site.clearances import Clearances
from tidegate_cli.demo_site.documents import modules
from tidegate_cli.demo_site.gate import Gate, Issued
from tidegate_cli.demo_site.pictures import Pictures
from tidegate_cli.demo_site.render import Renderer
from tidegate_cli.demo_site.tally import Tally

MODULES = modules()
KEYS = sitekeys(Random(1))


class TestCatalog:
    def test_several_hundred_modules_have_a_page(self) -> None:
        """Each once; none that opens windows, browsers or the build's own secrets when it is imported."""
        assert len(MODULES) == len(set(MODULES)) > 400
        tops = {name.partition(".")[0] for name in MODULES}
        assert tops.isdisjoint({"antigravity", "this", "idlelib", "tkinter", "turtle", "test", "sys", "site"})

    @pytest.mark.parametrize(("pages", "share"), [(400, 0.1), (30, 0.1), (10_000, 0.1), (1_000, 0.01)])
    def test_a_share_is_protected_each_kind_by_several(self, pages: int, share: float) -> None:
        """At least three pages of each kind, the kinds even, the share as asked for."""
        catalog = Catalog(MODULES, pages, share, seed=1)
        kinds = Counter(page.protection.kind for page in catalog.pages.values() if page.protection)
        assert set(kinds) == set(COMMON)
        assert min(kinds.values()) >= 3
        assert max(kinds.values()) - min(kinds.values()) <= 1
        assert kinds.total() == max(9, round(pages * share))

    def test_each_kind_is_shown_in_every_way(self) -> None:
        """Of 40 protected pages each kind has some that say 200, and some that redirect."""
        catalog = Catalog(MODULES, 400, 0.1, seed=1)
        ways = {
            (page.protection.kind, page.protection.status, page.protection.redirects)
            for page in catalog.pages.values()
            if page.protection
        }
        assert len(ways) == 12

    def test_a_few_pages_are_behind_each_further_kind(self) -> None:
        """Each with a body of its own; those that need a proxy are there and not listed."""
        catalog = Catalog(MODULES, 400, 0.1, seed=1, guarded=2)
        looks = Counter(page.protection.look for page in catalog.guarded if page.protection)
        assert set(looks) == {*LAYOUTS, *CLEARANCES, INVISIBLE} - set(COMMON)
        assert set(looks.values()) == {2}
        assert set(BOUND) < set(looks)
        invisible = catalog.find(f"/guarded/{INVISIBLE}/1.html")
        assert invisible is not None
        assert invisible.protection is not None
        assert invisible.protection.kind is ChallengeKind.RECAPTCHA_V2
        assert len({page.body(b"x") for page in catalog.guarded}) == len(catalog.guarded)
        assert all(catalog.find(page.path) == page for page in catalog.guarded)

    def test_the_seed_decides(self) -> None:
        """The same seed protects the same pages, another one others."""
        first, same, other = (Catalog(MODULES, 400, 0.1, seed) for seed in (1, 1, 2))
        assert first.pages == same.pages
        assert first.pages != other.pages

    def test_copies_have_paths_and_bodies_of_their_own(self) -> None:
        """Beyond the modules, pages are numbered copies with a comment at the end."""
        catalog = Catalog(MODULES, 10_000, 0.0, seed=1)
        assert len(catalog.pages) == 10_000
        copy = catalog.find("/doc/json.html?v=7")
        original = catalog.find("/doc/json.html")
        assert copy is not None
        assert original is not None
        assert original.body(b"x\n") == b"x\n"
        assert copy.body(b"x\n") == b"x\n<!-- copy 7 -->\n"

    def test_linked_modules_beyond_the_list_are_there_unprotected(self) -> None:
        """Pages link to each other, listed or not."""
        catalog = Catalog(MODULES, 10, 1.0, seed=1)
        page = catalog.find(f"/doc/{MODULES[10]}.html")
        assert page is not None
        assert page.protection is None
        assert catalog.find("/doc/nothing.html") is None


class TestChoice:
    def test_a_few_pages_are_behind_every_challenge_the_invisible_one_counted_by_itself(self) -> None:
        """In the order of the site; an open page only where there is room."""
        pages = (
            Served("/open"),
            Served("/seen", protected=ChallengeKind.RECAPTCHA_V2, invisible=False),
            Served("/more", protected=ChallengeKind.RECAPTCHA_V2, invisible=False),
            Served("/unseen", protected=ChallengeKind.RECAPTCHA_V2, invisible=True),
        )
        behind = {page.path: page.challenge for page in pages}
        assert choose(list(behind), behind, 2) == ["/seen", "/unseen"]
        assert choose(list(behind), behind, 3) == ["/open", "/seen", "/unseen"]


class TestGate:
    def test_a_nonce_is_good_for_one_answer(self) -> None:
        """The second answer with it is refused."""
        gate = Gate(Random(1))
        issued = gate.challenge("/p", None, 0.0)
        assert gate.answered(issued.nonce, issued.session, "/p", issued.state, 1.0)
        assert not gate.answered(issued.nonce, issued.session, "/p", issued.state, 1.0)

    @pytest.mark.parametrize("wrong", ["nonce", "session", "no session", "path", "state", "late"])
    def test_an_answer_must_fit_in_everything(self, wrong: str) -> None:
        """Another session, page or state, or ten minutes later: refused."""
        gate = Gate(Random(1))
        issued = gate.challenge("/p", None, 0.0)
        session = {"session": "other", "no session": None}.get(wrong, issued.session)
        assert not gate.answered(
            "other" if wrong == "nonce" else issued.nonce,
            session,
            "/q" if wrong == "path" else "/p",
            "other" if wrong == "state" else issued.state,
            600.0 if wrong == "late" else 1.0,
        )

    def test_a_session_is_kept_over_challenges(self) -> None:
        """Who has a session keeps it; each view has a nonce of its own."""
        gate = Gate(Random(1))
        first = gate.challenge("/p", None, 0.0)
        second = gate.challenge("/p", first.session, 0.0)
        assert first.session == second.session
        assert first.nonce != second.nonce

    def test_without_grace_nobody_is_admitted(self) -> None:
        """A verified session is challenged again on the next page."""
        gate = Gate(Random(1))
        gate.verified("s")
        assert not gate.admits("/p", "s", None)

    def test_grace_is_used_up_view_by_view(self) -> None:
        """Two views after a verification, for that session only."""
        gate = Gate(Random(1), grace=2)
        gate.verified("s")
        assert not gate.admits("/p", "other", None)
        assert [gate.admits("/p", "s", None) for _ in range(3)] == [True, True, False]

    def test_a_pass_is_good_for_one_view_of_its_page(self) -> None:
        """On another page it neither helps nor is used up."""
        gate = Gate(Random(1))
        text = gate.new_pass("/p")
        assert not gate.admits("/q", None, text)
        assert gate.admits("/p", None, text)
        assert not gate.admits("/p", None, text)

    def test_what_is_awaited_is_bounded(self) -> None:
        """The oldest nonce is forgotten; its holder is challenged again."""
        gate = Gate(Random(1), limit=1)
        old, new = gate.challenge("/p", None, 0.0), gate.challenge("/p", None, 0.0)
        assert not gate.answered(old.nonce, old.session, "/p", old.state, 1.0)
        assert gate.answered(new.nonce, new.session, "/p", new.state, 1.0)


class TestChallenges:
    @pytest.mark.parametrize("kind", [*LAYOUTS, *CLEARANCES, INVISIBLE])
    def test_a_challenge_is_small_and_names_its_widget(self, kind: str) -> None:
        """Under 10 kB, the vendor's script and element, the site key, the nonce; values are escaped."""
        page = ChallengePages(KEYS).render(
            kind, "/doc/a.html?v=1", "site.test", Issued("s", "nonce", 'a"<b>&c')
        )
        assert len(page) < 10_000
        text = page.decode()
        marks = {
            INVISIBLE: ("www.google.com/recaptcha/api.js", "g-recaptcha", 'data-size="invisible"'),
            ChallengeKind.RECAPTCHA_V2: ("www.google.com/recaptcha/api.js", "g-recaptcha"),
            ChallengeKind.HCAPTCHA: ("js.hcaptcha.com/1/api.js", "h-captcha"),
            ChallengeKind.TURNSTILE: ("challenges.cloudflare.com/turnstile/v0/api.js", "cf-turnstile"),
            ChallengeKind.RECAPTCHA_V2_ENTERPRISE: ("recaptcha/enterprise.js", "g-recaptcha"),
            ChallengeKind.RECAPTCHA_V3: ("recaptcha/api.js?render=", "grecaptcha.execute"),
            ChallengeKind.RECAPTCHA_V3_ENTERPRISE: (
                "recaptcha/enterprise.js?render=",
                "grecaptcha.enterprise.execute",
            ),
            ChallengeKind.GEETEST_V3: ("initGeetest(", challenge_of("nonce")),
            ChallengeKind.GEETEST_V4: ("gt4.js", "initGeetest4("),
            ChallengeKind.IMAGE: ('<img id="captcha" src="/captcha/nonce.png"', 'name="code"'),
            ChallengeKind.FUNCAPTCHA: ("client-api.arkoselabs.com/v2/", "fc-token"),
            ChallengeKind.AWS_WAF: ("gokuProps", "captcha.awswaf.com"),
            ChallengeKind.CLOUDFLARE_CHALLENGE: ("_cf_chl_opt", "orchestrate/chl_page"),
            ChallengeKind.DATADOME: ("var dd=", "geo.captcha-delivery.com"),
        }[kind]
        assert all(mark in text for mark in (*marks, KEYS[kind], "nonce"))
        assert kind in CLEARANCES or "a&quot;&lt;b&gt;&amp;c" in text
        assert "$" not in text

    def test_an_answer_of_several_parts_counts_as_a_whole(self) -> None:
        """GeeTest's parts belong to the challenge on the page and to each other."""
        v3 = {
            "n": "ab12",
            "geetest_challenge": challenge_of("ab12"),
            "geetest_validate": "v",
            "geetest_seccode": "v|jordan",
        }
        assert token_of(ChallengeKind.GEETEST_V3, v3) == "v"
        for name in ("n", "geetest_challenge", "geetest_seccode"):
            assert token_of(ChallengeKind.GEETEST_V3, {**v3, name: "other"}) == ""
        v4 = dict.fromkeys(("captcha_id", "lot_number", "gen_time", "captcha_output", "pass_token"), "p")
        assert token_of(ChallengeKind.GEETEST_V4, v4) == "p"
        assert token_of(ChallengeKind.GEETEST_V4, {**v4, "gen_time": ""}) == ""


class TestPictures:
    def test_a_picture_says_what_it_shows_and_the_page_does_not(self) -> None:
        """A real PNG; each challenge has its own text, another site others."""
        one, other = Pictures(b"one"), Pictures(b"other")
        picture = one.png("nonce")
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        assert b"tidegate-text:" + one.text("nonce").encode() + b";" in picture
        assert one.is_text("nonce", one.text("nonce").lower())
        assert not one.is_text("nonce", other.text("nonce"))
        assert not one.is_text("nonce", one.text("other"))

    def test_a_picture_is_for_the_session_that_was_challenged(self) -> None:
        """Until it is answered."""
        gate = Gate(Random(1))
        issued = gate.challenge("/p", None, 0.0)
        assert gate.awaits(issued.nonce, issued.session)
        assert not gate.awaits(issued.nonce, "other")
        assert not gate.awaits(issued.nonce, None)
        gate.answered(issued.nonce, issued.session, "/p", issued.state, 1.0)
        assert not gate.awaits(issued.nonce, issued.session)


class TestClearances:
    def test_a_clearance_is_bound_to_address_agent_and_time(self) -> None:
        """Nobody else's, not from elsewhere, not for ever."""
        book = Clearances(limit=1)
        book.clear("c", address="a", agent="b", until=10.0)
        assert book.knows("c")
        assert book.admits("c", address="a", agent="b", now=9.0)
        assert not book.admits("c", address="x", agent="b", now=9.0)
        assert not book.admits("c", address="a", agent="x", now=9.0)
        assert not book.admits("c", address="a", agent="b", now=10.0)
        assert not book.admits("d", address="a", agent="b", now=9.0)
        book.clear("d", address="a", agent="b", until=10.0)
        assert not book.knows("c")


class TestExtras:
    def test_listed_extras_end_well(self) -> None:
        """Each is 200, a 4xx that is an answer in itself, or a redirect; with at most one failure before."""
        rows = extras.build(MODULES, KEYS)
        for extra in rows.values():
            if extra.listed:
                assert extra.status in (200, 302, 404, 410), extra.path
                assert extra.failures <= 1
            if extra.location:
                assert rows[extra.location].body == extra.body

    @pytest.mark.parametrize("name", ["contact", "login", "comments", "about-captchas"])
    def test_pages_with_widgets_are_full_pages(self, name: str) -> None:
        """Well above the size of a challenge page, as real ones are."""
        assert len(extras.build(MODULES, KEYS)[f"/extra/{name}.html"].body) > 20_000

    @pytest.mark.parametrize("charset", ["latin-1", "shift-jis"])
    def test_old_character_sets_are_only_in_the_page(self, charset: str) -> None:
        """The header names none, the bytes are not UTF-8."""
        extra = extras.build(MODULES, KEYS)[f"/extra/{charset}.html"]
        assert extra.headers == {"Content-Type": "text/html"}
        assert "<h1>" in extra.body.decode(charset)
        with pytest.raises(UnicodeDecodeError):
            extra.body.decode()


class TestRenderer:
    def test_a_module_that_is_missing_has_a_page_that_says_so(self) -> None:
        """The site's list of URLs is the same on every Python."""
        assert "is not part of the Python" in Renderer().render("no_such_module")


class TestTally:
    def test_requests_are_counted_by_path_and_by_whom(self) -> None:
        """Those open at once are counted too."""
        tally = Tally()
        tally.opened("/a", "x")
        tally.opened("/a", "y")
        tally.closed()
        tally.opened("/b", "x")
        report = tally.report()
        assert report["paths"] == {
            "/a": {"count": 2, "by": {"x": 1, "y": 1}},
            "/b": {"count": 1, "by": {"x": 1}},
        }
        assert (report["requests"], report["open"], report["max_concurrent"]) == (3, 2, 2)
        assert report["user_agents"] == {"x": 2, "y": 1}
