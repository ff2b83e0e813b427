"""``tidegate demo``: the whole path with one command, and the traces that it leaves."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.cli import Ran, run, sql
from support.otlp import Collected, Seen, collector, documented, drawn, paths
from support.packaging import read
from tidegate.records import ChallengeKind
from tidegate_cli.demo_site.challenges import CLEARANCES, LAYOUTS

pytestmark = pytest.mark.embedded

_TREE, _BATCH = (
    documented(text) for text in re.findall(r"```text\n(.*?)```", read("docs/tracing.md"), re.DOTALL)
)
_WAITED = re.compile(r"(send|process) urls-(retry|held)")
_BESIDES = frozenset({"send sessions"})


class Demo(NamedTuple):
    """A run of the demo."""

    folder: Path
    ran: Ran
    collected: Collected


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Run it once, with every trace sampled and sent here."""
    folder = tmp_path_factory.mktemp("demo")
    with collector() as (endpoint, collected):
        telemetry = {"OTLP_ENDPOINT": endpoint, "TRACE_RATIO": "1"}
        environment = {f"TIDEGATE_TELEMETRY__{name}": value for name, value in telemetry.items()}
        ran = run(folder, "demo", "--json", "--pages", "60", "--timeout", "200", env=environment)
        yield Demo(folder, ran, collected)


def test_the_demo_ends_well_with_solved_pages_of_each_kind_and_bodies_as_served(demo: Demo) -> None:
    """Exit code 0, nothing lost, nothing twice, every body equal to what the site says it served."""
    ran = demo.ran
    assert ran.code == 0, ran.err
    report = ran.report
    assert (report["submitted"], report["pages"]) == (60, 60)
    assert (report["lost"], report["duplicates"], report["invented"], report["dead_letters"]) == (0, 0, 0, 0)
    # Two pages are behind each kind, and two behind an invisible reCAPTCHA v2, which has no kind of its own;
    # a clearance opens its site, a token here one page (M7).
    tokens = dict.fromkeys(LAYOUTS, 2) | {ChallengeKind.RECAPTCHA_V2: 4}
    assert report["solved_by_kind"] == tokens | dict.fromkeys(CLEARANCES, 1)
    assert report["cost"] > 0
    assert (report["bodies_checked"], report["bodies_differing"]) == (60, 0)
    assert report["first_page_seconds"] > 0
    assert (demo.folder / ".tidegate" / "latest" / "logs" / "fetcher.log").exists()


def test_a_solved_page_is_one_trace_as_documented_from_the_url_to_its_row(demo: Demo) -> None:
    """Its row's trace id finds the whole tree, whose parts are of four processes and none is an orphan."""
    data = demo.folder / ".tidegate" / "latest"
    rows = sql(
        demo.folder,
        data,
        "SELECT page.trace_id AS trace, solve.kind AS kind FROM pages AS page "
        "JOIN solves AS solve ON solve.run = page.run AND solve.job_id = page.id "
        "WHERE solve.status = 'solved' AND solve.trace_id = page.trace_id",
    )
    trees = {
        row["trace"]: demo.collected.of_trace(row["trace"]) for row in rows if row["kind"] == "turnstile"
    }
    assert trees
    for spans in trees.values():
        found = {tuple(name for name in path if not _WAITED.match(name)) for path in paths(spans)}
        besides = {path for path in found if path[-1] in {*_BESIDES, "GET"}}
        assert found >= _TREE, drawn(spans)
        assert found - besides <= _TREE, drawn(spans)
        assert {span.service for span in spans} == {
            f"tidegate-{name}" for name in ("submit", "fetcher", "solver", "storer")
        }


def test_a_request_of_the_fetcher_tells_whom_it_asked_and_how_it_ended(demo: Demo) -> None:
    """Host, port and scheme, the method and the status."""
    asked = [
        span
        for span in demo.collected.spans
        if span.service == "tidegate-fetcher" and span.name in ("GET", "POST")
    ]
    assert asked
    for span in asked:
        assert span.attributes.items() >= {"http.request.method": span.name, "url.scheme": "http"}.items()
        assert span.attributes["server.address"]
        assert int(span.attributes["server.port"]) > 0
    assert any(span.attributes.get("http.response.status_code") == "200" for span in asked)


def test_every_stored_record_is_linked_with_its_batch_both_ways(demo: Demo) -> None:
    """And a batch's inserts are below it."""
    stored = [span for span in demo.collected.spans if span.name == "store"]
    batches = {span.span: span for span in demo.collected.spans if span.name == "write batch"}
    assert len(stored) >= 60
    for span in stored:
        ((trace, batch),) = span.links
        assert batches[batch].trace == trace
        assert len(batches[batch].links) == 128 or (span.trace, span.span) in batches[batch].links
    for each in batches.values():
        assert paths(demo.collected.of_trace(each.trace)) <= _BATCH


def test_no_span_tells_a_secret_or_a_path(demo: Demo) -> None:
    """Keys, tokens and queries stay where they are."""
    told = {(name, value) for span in demo.collected.spans for name, value in _texts(span)}
    assert not [pair for pair in told if re.search(r"\?|token=|key=|/doc/|Cookie", pair[1])]


def _texts(span: Seen) -> list[tuple[str, str]]:
    return [("name", span.name), *span.attributes.items()]
