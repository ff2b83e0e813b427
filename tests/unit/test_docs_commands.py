"""Commands of Helm and kubectl in the documents: charts, values and objects that they name are there."""

import re
import shlex
from itertools import pairwise
from typing import Any

import pytest
import yaml
from support.packaging import ROOT, read
from tidegate.topics import declare

PAGES = tuple(f"docs/{name}.md" for name in ("operations", "upgrade", "faq", "scaling", "sizing", "security"))
_CODE = re.compile(r"`([^`\n]+)`")
_LINE = re.compile(r"^ {4,}(\S.*)$", re.MULTILINE)
_VALUE = re.compile(
    r"(?:services|kafka|clickhouse|proxies|autoscaling|hooks|doctor|networkPolicy|telemetry)\.[\w*.]+\w"
)
_SERVICES = ("fetcher", "solver", "storer", "monitor")
_TEMPLATES = "".join(path.read_text("utf-8") for path in (ROOT / "helm/tidegate/templates").rglob("*.yaml"))


def values() -> dict[str, Any]:
    """Return the chart's defaults."""
    found: dict[str, Any] = yaml.safe_load(read("helm/tidegate/values.yaml"))
    return found


def known(path: str) -> bool:
    """Tell whether a dotted path is a value of the chart; a star stands for a service."""
    place: Any = values()
    for step in path.replace("*", "fetcher").split("."):
        # Settings of a service are the chart's own schema's business.
        if place == {}:
            return True
        if not isinstance(place, dict) or step not in place:
            return False
        place = place[step]
    return True


def commands(page: str) -> list[list[str]]:
    """Return the words of every command of Helm or kubectl in a page."""
    text = read(page)
    lines = [line.strip() for line in (*_LINE.findall(text), *_CODE.findall(text))]
    return [shlex.split(line) for line in lines if line.startswith(("helm ", "kubectl "))]


@pytest.mark.parametrize("page", PAGES)
def test_values_in_the_text_are_values_of_the_chart(page: str) -> None:
    """A key that a document names is one that the chart reads."""
    for code in _CODE.findall(read(page)):
        if _VALUE.fullmatch(code):
            assert known(code), f"{page}: {code}"


@pytest.mark.parametrize("page", PAGES)
def test_helm_is_given_a_chart_and_values_that_exist(page: str) -> None:
    """The release is called as everywhere in the documents."""
    for words in commands(page):
        if words[0] != "helm":
            continue
        verb, release, *rest = words[1:]
        assert verb in {"install", "upgrade", "template", "rollback", "uninstall", "test"}
        assert release == "tidegate"
        if verb in {"install", "upgrade", "template"}:
            assert (ROOT / rest[0] / "Chart.yaml").exists(), words
        for key, value in pairwise(rest):
            if key == "--set":
                assert known(value.partition("=")[0]), value


@pytest.mark.parametrize("page", PAGES)
def test_kubectl_names_objects_that_the_chart_makes(page: str) -> None:
    """Deployments and scaled objects are called release-service; secrets are those of the examples."""
    examples = "".join(read(f"helm/tidegate/examples/{name}.yaml") for name in ("strimzi", "managed"))
    for words in commands(page):
        if words[0] != "kubectl":
            continue
        names = [word for word in words if word.startswith("tidegate-") and "=" not in word]
        assert all(name in {f"tidegate-{service}" for service in _SERVICES} for name in names), words
        if "scaledobject" in words:
            assert "kind: ScaledObject" in _TEMPLATES
        if words[1:3] == ["create", "secret"]:
            assert words[4] in examples, words


def test_the_steps_to_grow_partitions_name_every_site_keyed_topic() -> None:
    """Half of them grown, and no service would start."""
    (listed,) = re.findall(r"for topic in (.+?); do", read("docs/operations.md"), re.DOTALL)
    assert listed.replace("\\", " ").split() == [spec.topic for spec in declare() if spec.site_keyed]


@pytest.mark.parametrize("page", ["docs/operations.md", "docs/faq.md", "helm/tidegate/examples/managed.yaml"])
def test_what_the_topics_ask_of_a_broker_is_said(page: str) -> None:
    """The largest record first: some managed services refuse it."""
    specs = declare()
    assert f"{max(spec.max_message_bytes for spec in specs) >> 20} MiB" in read(page)
    keyed = sum(spec.site_keyed for spec in specs)
    assert f"{keyed} topics of `kafka.partitions`" in " ".join(read("docs/operations.md").split())
