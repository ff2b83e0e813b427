"""The live page in a real browser, in the states in which somebody looks at it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.chromium import PROGRAM, Tab, chromium
from support.monitor_states import HOSTILE, budget_spent, busy, idle, shown, solver_down
from tidegate.clock import SystemClock
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_monitor.view import View
from tidegate_monitor.web import Pages, page_server

pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on this machine"),
]


@asynccontextmanager
async def page(state: View, *, token: str = "") -> AsyncIterator[str]:
    """Serve a state."""
    port = PortPool().take()
    async with page_server(Pages(lambda: state, token=token, host=HOST, clock=SystemClock()), HOST, port):
        yield f"http://{HOST}:{port}/"


async def until_shown(tab: Tab) -> None:
    """Wait for the first event."""
    await tab.until("document.getElementById('board')?.hidden === false")


def problems(tab: Tab) -> list[str]:
    """Return what the browser complained of; advice is no complaint, nor that a served page went away."""
    return [said for said in tab.said if "'level': 'verbose'" not in said and "/stream'" not in said]


# Everything that can be checked without a person: names, order, contrast, and that nothing sticks out.
ACCESSIBILITY = """(() => {
  const faults = [];
  const light = (css) => {
    const [r, g, b] = css.match(/[0-9.]+/g).map(Number).map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (color !== "rgba(0, 0, 0, 0)") return color;
    }
    return "rgb(255, 255, 255)";
  };
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("noscript, svg")) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faults.push(contrast.toFixed(2) + ": " + element.outerHTML.slice(0, 99));
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push("one h1");
  if (!document.documentElement.lang) faults.push("no language");
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3")) {
    const own = Number(heading.tagName[1]);
    if (heading.checkVisibility() && own > level + 1) faults.push("heading skips: " + heading.textContent);
    if (heading.checkVisibility()) level = own;
  }
  const all = (selector, isWell) => {
    for (const each of document.querySelectorAll(selector)) {
      if (!isWell(each)) faults.push("not well: " + each.outerHTML.slice(0, 80));
    }
  };
  all("svg", (chart) => chart.getAttribute("aria-label"));
  all("input", (input) => document.querySelector("label[for=" + input.id + "]"));
  all("th", (cell) => cell.scope);
  all("section", (part) => document.getElementById(part.getAttribute("aria-labelledby")));
  all(".scroll", (area) => area.tabIndex === 0);
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  if (new Set(ids).size !== ids.length) faults.push("an id twice");
  if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the window");
  return faults;
})()"""

STATES = {"idle": idle, "busy": busy, "solver-down": solver_down, "budget-spent": budget_spent}
SAYS = {
    "idle": ("Idle, no alerts", "Nothing fires."),
    "busy": ("1 warning", "slowed to 25 %", HOSTILE),
    "solver-down": ("critical alert", "A solving service has not been usable for a minute"),
    "budget-spent": ("critical alert", "run june"),
}


VARIANTS = ((1280, False), (390, True))


@pytest.mark.timeout(300)
async def test_the_page_shows_each_state_without_a_fault(tmp_path: Path) -> None:
    """Wide and light, or narrow and dark: readable, nothing sticks out, and hostile names are text."""
    pictures = os.environ.get("TEST_PICTURES")
    async with chromium(tmp_path / "profile") as tab:
        for name, fill in STATES.items():
            async with page(shown(fill)) as url:
                for width, dark in VARIANTS if pictures else VARIANTS[len(name) % 2 :][:1]:
                    await tab.show(url, width=width, dark=dark)
                    await until_shown(tab)
                    text = await tab.evaluate("document.body.innerText")
                    for said in SAYS[name]:
                        assert said in text, (name, width)
                    assert await tab.evaluate(ACCESSIBILITY) == [], (name, width)
                    assert await tab.evaluate("document.querySelectorAll('img, main script').length") == 0
                    if pictures:
                        (Path(pictures) / f"{name}-{width}.png").write_bytes(await tab.picture())
        assert problems(tab) == []


async def test_the_page_asks_for_the_token_and_takes_it_by_keyboard(tmp_path: Path) -> None:
    """Nothing is shown before; a wrong one is said to be wrong; none of it is in the address."""
    async with chromium(tmp_path / "profile") as tab, page(shown(idle), token="secret") as url:
        await tab.show(url)
        await tab.until("document.activeElement?.id === 'token'")
        for given, shows in (("wrong", "That is not the token."), ("secret", "Nothing fires.")):
            await tab.call("Input.insertText", text=given)
            for kind in ("keyDown", "keyUp"):
                await tab.call(
                    "Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, text="\r"
                )
            await tab.until(f"document.body.innerText.includes({shows!r})")
        assert await tab.evaluate("location.href") == url
        assert "alert" not in await tab.evaluate("document.title")
