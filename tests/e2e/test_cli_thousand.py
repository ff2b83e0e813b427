"""``tidegate crawl`` on a thousand real pages, a tenth of them behind challenges."""

import hashlib
import re
import shutil
from itertools import islice
from pathlib import Path
from urllib.parse import unquote
from urllib.request import urlopen

import pytest
from support.cli import run, sql
from support.demo_processes import get_json, process
from tidegate_cli.stack.parts import simulator_settings

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]

PAGES = 1000
LIBRARY = Path("/usr/share")
_TITLE = re.compile(rb"<title[^>]*>\s*([^<\s][^<]*)</title>", re.IGNORECASE)


def documents(folder: Path) -> bool:
    """Copy this machine's own HTML documentation into a folder; say whether there was enough of it."""
    found = (path for path in sorted(LIBRARY.rglob("*.html")) if path.is_file() and path.stat().st_size)
    kept = list(islice(found, PAGES))
    if len(kept) < PAGES:
        return False
    folder.mkdir()
    for number, path in enumerate(kept):
        shutil.copyfile(path, folder / f"{number:04}.html")
    return True


def test_a_thousand_real_pages_arrive_as_they_were_served(tmp_path: Path) -> None:
    """As many rows as URLs, each body equal by hash, a title for each page that has one, each kind solved."""
    library = tmp_path / "library"
    # Where the machine has too little documentation, the demo site renders the standard library's.
    pages = ("--folder", str(library)) if documents(library) else ("--pages", str(PAGES))
    with (
        process("tidegate_cli.simulator") as simulator,
        process("tidegate_cli.demo_site", "--simulator", simulator, *pages) as site,
    ):
        with urlopen(f"{site}/urls.txt", timeout=30) as answer:
            (tmp_path / "urls.txt").write_bytes(answer.read())
        options = ("--json", "--allow-private", "--solve", site.removeprefix("http://"), "--data", "data")
        ran = run(tmp_path, "crawl", "urls.txt", *options, env=simulator_settings(simulator))
        served = {page["path"]: page for page in get_json(f"{site}/manifest.json")["pages"]}
    assert ran.code == 0, ran.err
    report = ran.report
    urls = (tmp_path / "urls.txt").read_text().split()
    assert len(urls) >= PAGES
    assert (report["submitted"], report["pages"], report["dead_letters"]) == (len(urls), len(urls), 0)
    assert (report["lost"], report["duplicates"], report["invented"]) == (0, 0, 0)
    assert report["solved"] >= PAGES // 12
    assert set(report["solved_by_kind"]) == {"recaptcha_v2", "hcaptcha", "turnstile"}
    columns = "url, title, lower(hex(SHA256(body))) AS sha256"
    rows = sql(tmp_path, tmp_path / "data", f"SELECT {columns} FROM pages_with_bodies")
    # With its query: the demo site serves copies of its pages under one path.
    stored = {row["url"].removeprefix(site): row for row in rows}
    assert len(stored) == len(urls)
    files = {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in library.glob("*.html")}
    titled = 0
    for path, row in stored.items():
        expected = served[path] if path in served else served[unquote(path)]
        if expected["sha256"]:
            assert row["sha256"] == expected["sha256"], path
        file = files.get(row["sha256"])
        if file is not None and _TITLE.search(file.read_bytes()):
            titled += 1
            assert row["title"], file
    assert not files or titled >= PAGES // 2
    if files:
        assert {row["sha256"] for row in rows} >= files.keys()
