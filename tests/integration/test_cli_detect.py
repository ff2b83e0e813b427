"""``tidegate detect``: of a file, of standard input, of a URL."""

import io
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from support.fetcher import fixtures, site
from tidegate.errors import ConfigurationError
from tidegate_cli.commands._detect import Asked, detect_main


async def told(capsys: pytest.CaptureFixture[str], **fields: Any) -> dict[str, Any]:
    """Return what the command prints as JSON."""
    assert await detect_main(Asked(**fields), as_json=True) == 0
    return msgspec.json.decode(capsys.readouterr().out, type=dict[str, Any])


async def test_a_file_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kind, signatures, parameters, the form and how the answer goes back."""
    row = fixtures("hcaptcha", "challenge")[0]
    path = tmp_path / "page.html"
    path.write_text(row["html"])
    found = await told(capsys, source=str(path), status=403, url="https://shop.example/page?id=1")
    assert (found["class"], found["kind"]) == ("challenge", "hcaptcha")
    assert found["signatures"] == ["hcaptcha:widget"]
    assert found["params"] == row["params"]
    assert found["form"]["action"] == row["action"]
    assert found["answer"]["into"] == ["h-captcha-response", "g-recaptcha-response"]
    assert await detect_main(Asked(source=str(path)), as_json=False) == 0
    assert "sitekey" in capsys.readouterr().out


async def test_a_page_sends_nothing_but_text_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parameters, the form's action and its fields are the page's own words."""
    path = tmp_path / "page.html"
    path.write_text(
        '<html><body><form action="/a\x1bc"><input type="hidden" name="b\x1b[31m" value="c\x07">'
        '<div class="g-recaptcha" data-sitekey="6Lc-1" data-s="d\x1b[0m"></div></form></body></html>'
    )
    assert await detect_main(Asked(source=str(path), status=403), as_json=False) == 0
    shown = capsys.readouterr().out
    assert "6Lc-1" in shown
    assert "\\x1b[31m" in shown
    assert all(each.isprintable() or each == "\n" for each in shown)


async def test_an_ordinary_page_has_no_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``kind`` is null where nothing was found."""
    path = tmp_path / "page.html"
    path.write_text("<p>hello</p>")
    found = await told(capsys, source=str(path))
    assert (found["class"], found["kind"], found["signatures"]) == ("page", None, [])


async def test_standard_input_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A block is named; headers decide where the body says nothing."""

    class Input:
        buffer = io.BytesIO(b"<html></html>")

    monkeypatch.setattr(sys, "stdin", Input)
    found = await told(capsys, source="-", status=429, headers=("X-KPSDK-CT: 0a", "Server: x"))
    assert (found["class"], found["kind"]) == ("blocked", "kasada")


async def test_a_url_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status, headers and cookies are those of the answer."""
    row = fixtures("datadome", "challenge")[1]

    async def answer(_: web.Request) -> web.Response:
        response = web.Response(status=403, text=row["html"], content_type="text/html")
        response.set_cookie("datadome", "fresh")
        return response

    async with site(answer) as base:
        with pytest.raises(ConfigurationError, match="loopback"):  # which ends with exit code 2
            await detect_main(Asked(source=base), as_json=True)
        monkeypatch.setenv("TIDEGATE_FETCHER__ALLOW_PRIVATE", "true")
        found = await told(capsys, source=base)
    assert (found["kind"], found["status"]) == ("datadome", 403)
    assert "cid=fresh" in found["params"]["captcha_url"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"source": "/nowhere/at/all"}, "cannot be read"),
        ({"source": "-", "headers": ("no colon",)}, "Name: value"),
        ({"source": "http://"}, "is not a URL"),
        ({"source": "-", "selector": "["}, "--image-selector"),
    ],
)
async def test_wrong_usage_is_told(fields: dict[str, Any], names: str) -> None:
    """A sentence that names what is wrong."""
    with pytest.raises(ConfigurationError, match=names):
        await detect_main(Asked(**fields), as_json=False)
