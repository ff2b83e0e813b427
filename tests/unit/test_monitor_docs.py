"""The page on the monitor says what the table of alerts says."""

import importlib.util

from support.packaging import ROOT


def test_the_table_of_alerts_is_what_the_rules_are() -> None:
    """A change of a rule without `make docs` turns red."""
    spec = importlib.util.spec_from_file_location("monitor_docs", ROOT / "tools/monitor_docs.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = (ROOT / "docs/monitor.md").read_text("utf-8")
    assert tool.render(page) == page
