"""The chart's written files are what its tool writes."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import yaml
from tidegate.consume.deadlines import CLOSE_S, FLUSH_S, rebalance_timeout_s, revocation_s
from tidegate.settings import KafkaSettings, RuntimeSettings

ROOT = Path(__file__).parents[2]


def chart_schema() -> ModuleType:
    """Return the tool as a module."""
    spec = importlib.util.spec_from_file_location("chart_schema", ROOT / "tools/chart_schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_schema_and_readme_are_those_of_the_values_and_settings() -> None:
    """A new value or setting without `make docs` turns red."""
    tool = chart_schema()
    assert json.loads(tool.SCHEMA.read_text("utf-8")) == tool.schema()
    assert tool.README.read_text("utf-8") == tool.readme()


def test_the_readme_lists_every_value() -> None:
    """Also one that is a list."""

    def names(value: object, path: str = "") -> Iterator[str]:
        if not isinstance(value, dict) or not value:
            yield path
            return
        for key, each in value.items():
            yield from names(each, f"{path}.{key}".lstrip("."))

    listed = set(re.findall(r"^\| `([\w.]+)`", chart_schema().README.read_text("utf-8"), re.MULTILINE))
    values = yaml.safe_load((ROOT / "helm/tidegate/values.yaml").read_text("utf-8"))
    missing = [
        name for name in names(values) if not any(name == f or name.startswith(f"{f}.") for f in listed)
    ]
    assert missing == []


def test_chart_and_packages_have_one_version() -> None:
    """The images are tagged with it."""
    chart = yaml.safe_load((ROOT / "helm/tidegate/Chart.yaml").read_text("utf-8"))
    library = (ROOT / "shared/pyproject.toml").read_text("utf-8")
    assert f'version = "{chart["appVersion"]}"' in library


def test_the_grace_period_covers_what_a_stop_may_take() -> None:
    """From one value, the drain: the pods' grace is longer than the group waits for a member that leaves."""
    template = (ROOT / "helm/tidegate/templates/services.yaml").read_text("utf-8")
    (added,) = re.findall(
        r"terminationGracePeriodSeconds: \{\{ add \$\.Values\.drainSeconds (\d+) \}\}", template
    )
    values = yaml.safe_load((ROOT / "helm/tidegate/values.yaml").read_text("utf-8"))
    longest_session_s = KafkaSettings.model_fields["session_timeout_s"].default * 10
    for drain in (1, values["drainSeconds"], 600):
        grace = drain + int(added)
        # While Kafka is away each of these takes all of its time.
        assert grace > revocation_s(drain) + CLOSE_S + FLUSH_S
        assert grace >= rebalance_timeout_s(drain, longest_session_s)
    assert RuntimeSettings.model_fields["drain_deadline_s"].default == values["drainSeconds"]
