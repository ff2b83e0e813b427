"""The reference page of telemetry, and that nothing is left out of it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from tidegate.telemetry.metric import check
from tidegate.telemetry.runtime_metrics import RUNTIME_METRICS

ROOT = Path(__file__).parents[2]
# Events that are worth a line and no number: they tell of one thing that a number would hide.
ONLY_LINES = {
    "fetcher": {
        "LagKnown",
        "PolicyLoaded",
        "ProxiesBack",
        "ProxyListRead",
        "RunChanged",
        "RunRecordIgnored",
        "SiteCleared",
    },
    "solver": {
        "BudgetRead",
        "JournalRestored",
        "JournalTrimmed",
        "LedgerRecordIgnored",
        "LedgerRestored",
        "PollTroubled",
        "ProviderOut",
        "ProviderUnverified",
        "SnapshotTooLarge",
        "SnapshotWritten",
        "UnreadWallOpened",
    },
    "storer": {"StorerReady"},
    "monitor": {"MonitorCaughtUp", "PageServed"},
}


def telemetry_docs() -> ModuleType:
    """Return the tool as a module."""
    spec = importlib.util.spec_from_file_location("telemetry_docs", ROOT / "tools/telemetry_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_declarations_say() -> None:
    """A change of a metric or an event without `make docs` turns red."""
    assert (ROOT / "docs/telemetry.md").read_text("utf-8") == telemetry_docs().render()


@pytest.mark.parametrize("service", ["fetcher", "solver", "storer", "monitor"])
def test_every_event_moves_a_metric_or_is_only_a_line(service: str) -> None:
    """Whoever adds an event decides which of the two it is."""
    tool = telemetry_docs()
    metrics = tool.metrics_of(service)
    check((*RUNTIME_METRICS, *metrics))
    moved = {source.event.__name__ for metric in metrics for source in metric.sources}
    every = {event.__name__ for event in tool.events_of(f"tidegate_{service}.events")}
    assert every - moved == ONLY_LINES[service]
