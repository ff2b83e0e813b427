"""The profile ``observability``: what it mounts exists, what it scrapes and sends to is there."""

import re
from typing import Any

import yaml
from support.packaging import ROOT, SERVICES, read

_DOCUMENT: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
_SERVICES: dict[str, dict[str, Any]] = _DOCUMENT["services"]
_PROFILE = {name: each for name, each in _SERVICES.items() if each.get("profiles") == ["observability"]}


def test_nothing_of_it_starts_without_its_profile() -> None:
    """The four parts, and nothing that waits for one of them from outside."""
    assert set(_PROFILE) == {"collector", "jaeger", "prometheus", "grafana"}
    for name, service in _SERVICES.items():
        if name not in _PROFILE:
            assert not set(service.get("depends_on", {})) & set(_PROFILE)


def test_what_is_mounted_exists_and_is_read_only() -> None:
    """A folder that is missing would be made by the engine, empty."""
    mounts = [
        mount for service in _PROFILE.values() for mount in service.get("volumes", []) if mount[0] == "."
    ]
    assert mounts
    for mount in mounts:
        source, _, mode = mount.split(":")
        assert (ROOT / source).is_dir(), source
        assert mode == "ro"


def test_the_collectors_layers_make_one_configuration() -> None:
    """Every part that a pipeline names is declared in one of the files that are laid over each other."""
    names = re.findall(r"/etc/collector/([\w.]+)", " ".join(_PROFILE["collector"]["command"]))
    assert names == ["base.yaml", "jaeger.yaml"]
    merged: dict[str, dict[str, Any]] = {}
    for name in names:
        for section, content in yaml.safe_load(read(f"observability/collector/{name}")).items():
            merged.setdefault(section, {}).update(content)
    for pipeline in merged["service"]["pipelines"].values():
        for kind, parts in pipeline.items():
            assert set(parts) <= set(merged[kind])
    host = merged["exporters"]["otlp/jaeger"]["endpoint"].partition(":")[0]
    assert host in _PROFILE
    assert set(_PROFILE[host]["networks"]) & set(_PROFILE["collector"]["networks"])


def test_prometheus_scrapes_every_service_where_it_listens() -> None:
    """By the name that Compose gives it, at the port of its image."""
    configured = yaml.safe_load(read("observability/prometheus/prometheus.yml"))
    jobs = {each["job_name"]: each for each in configured["scrape_configs"]}
    for service in SERVICES:
        job = jobs[f"tidegate-{service}"]
        if "profiles" in _SERVICES[service]:
            # A target that does not exist would be one that is down, for ever.
            assert job["dns_sd_configs"] == [{"names": [service], "type": "A", "port": 8090}]
        else:
            assert job["static_configs"] == [{"targets": [f"{service}:8090"]}]
        assert "TIDEGATE_HEALTH__PORT=8090" in read(f"services/{service}/Dockerfile")
        assert "data" in _SERVICES[service]["networks"]
    assert (ROOT / "observability/prometheus" / configured["rule_files"][0]).exists()


def test_the_rules_ask_for_the_jobs_that_are_scraped() -> None:
    """A matcher that fits no name is never true, and the rule never fires."""
    configured = yaml.safe_load(read("observability/prometheus/prometheus.yml"))
    jobs = [each["job_name"] for each in configured["scrape_configs"]]
    asked = set(re.findall(r'job=~\\"([^"\\]+)', read("observability/prometheus/rules.yml")))
    assert asked
    assert all(re.fullmatch(pattern, job) for pattern in asked for job in jobs)


def test_grafana_finds_its_dashboards_and_their_sources() -> None:
    """A dashboard over a source that is not provisioned shows nothing."""
    sources = yaml.safe_load(read("observability/grafana/provisioning/datasources/tidegate.yml"))[
        "datasources"
    ]
    uids = {source["uid"] for source in sources}
    for source in sources:
        assert re.match(r"http://(\w+):", source["url"])[1] in _PROFILE  # type: ignore[index]
    for path in (ROOT / "observability/grafana/dashboards").glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r'"type": "(?:prometheus|jaeger)",\s*"uid": "(\w+)"', text)) <= uids
    provider = yaml.safe_load(read("observability/grafana/provisioning/dashboards/tidegate.yml"))[
        "providers"
    ][0]
    mounts = [mount.split(":")[1] for mount in _PROFILE["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts
