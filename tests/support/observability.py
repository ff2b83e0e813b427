"""The generator of observability/, a script that is part of no package; and what services tell Prometheus."""

import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from support.packaging import ROOT, read
from tidegate_cli.stack.processes import Child


@cache
def generator(name: str = "observability") -> ModuleType:
    """Return a module of tools/."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seven() -> dict[str, str]:
    """Return the numbers that docs/monitor.md gives PromQL for, by name."""
    section = read("docs/monitor.md").split("## Seven numbers from Prometheus")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\w[\w ]+) \| `(.+)` \|", section, re.MULTILINE)
    return {name: promql.replace(r"\|", "|") for name, promql in rows}


def scraped(services: Iterable[Child]) -> list[Sample]:
    """Return what the pages at /metrics of these say now."""
    samples = []
    for service in services:
        with urlopen(
            f"http://127.0.0.1:{service.spec.env['TIDEGATE_HEALTH__PORT']}/metrics", timeout=60
        ) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        samples += [sample for family in families for sample in family.samples]
    return samples


def total(samples: Iterable[Sample], name: str, **labels: str) -> float:
    """Return the sum of the samples with this name and these labels; LookupError where there are none."""
    found = [each.value for each in samples if each.name == name and labels.items() <= each.labels.items()]
    if not found:
        raise LookupError(f"nobody tells {name} {labels}")
    return sum(found)
