#!/usr/bin/env python
"""Writes helm/tidegate/values.schema.json and the chart's README from values.yaml and the settings classes.

Every object that values.yaml spells out is closed: a misspelt key is refused by name. Settings are those that
the services have, so that a misspelt setting is refused at the install and not by a pod that will not start.
A test holds the written files against this tool; after a change run ``make docs``.
"""

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from tidegate.settings import KafkaSettings, Settings

CHART = Path(__file__).resolve().parents[1] / "helm" / "tidegate"
SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"
SERVICES = ("fetcher", "solver", "storer", "monitor")

# What an empty or plain default does not say. A star stands for any service.
_FREE_MAP = {"type": "object"}
_STRINGS = {"type": "array", "items": {"type": "string"}}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
_RESOURCES = {
    "type": "object",
    "properties": {"requests": _QUANTITIES, "limits": _QUANTITIES},
    "additionalProperties": False,
}
_REPLICAS = {"type": "integer", "minimum": 0}
_OVERRIDES: dict[str, dict[str, Any]] = {
    # Helm's own, for charts that have this one as a part.
    "global": _FREE_MAP,
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.pullSecrets": _STRINGS,
    "kafka.partitions": {"type": "integer", "minimum": 1, "maximum": 1000},
    "kafka.replication": {"type": "integer", "minimum": 1, "maximum": 9},
    "kafka.minInsyncReplicas": {"type": "integer", "minimum": 1},
    "kafka.outageDays": {"type": "integer", "minimum": 1},
    "kafka.securityProtocol": {"enum": ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]},
    "kafka.saslMechanism": {"enum": ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]},
    "clickhouse.url": {"type": "string", "pattern": "^(https?://[^@]+)?$"},
    "telemetry.logLevel": {"enum": ["debug", "info", "warning", "error"]},
    "telemetry.traceRatio": {"type": "number", "minimum": 0, "maximum": 1},
    "telemetry.metrics": {"enum": ["prometheus", "otlp", "off"]},
    "telemetry.podMonitor.labels": _FREE_MAP,
    "telemetry.serviceMonitor.labels": _FREE_MAP,
    "telemetry.prometheusRule.labels": _FREE_MAP,
    "telemetry.dashboards.labels": _FREE_MAP,
    "drainSeconds": {"type": "integer", "minimum": 1, "maximum": 600},
    "services.*.replicas": _REPLICAS,
    "services.*.resources": _RESOURCES,
    "services.*.autoscaling.minReplicas": _REPLICAS,
    "services.*.autoscaling.maxReplicas": {"type": "integer", "minimum": 1},
    "services.*.autoscaling.lagThreshold": {"type": "integer", "minimum": 1},
    "services.*.autoscaling.workPerReplica": {"type": "number", "exclusiveMinimum": 0},
    "services.*.autoscaling.activationLag": {"type": "integer", "minimum": 0},
    "services.*.podAnnotations": _FREE_MAP,
    "services.*.podLabels": _FREE_MAP,
    "services.*.nodeSelector": _FREE_MAP,
    "services.*.affinity": _FREE_MAP,
    "services.*.tolerations": _OBJECTS,
    "services.*.extraEnv": _OBJECTS,
    "services.*.extraVolumes": _OBJECTS,
    "services.*.extraVolumeMounts": _OBJECTS,
    "services.*.extraContainers": _OBJECTS,
    "autoscaling.by": {"enum": ["keda", "hpa"]},
    "autoscaling.captchaRateMark": {"type": "number", "minimum": 0, "maximum": 1},
    "autoscaling.pollingSeconds": {"type": "integer", "minimum": 1},
    "autoscaling.cooldownSeconds": {"type": "integer", "minimum": 0},
    "networkPolicy.dataPeers": _OBJECTS,
    "networkPolicy.privateNetworks": _STRINGS,
    "hooks.resources": _RESOURCES,
    "doctor.resources": _RESOURCES,
}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
# Set by the chart itself, from a secret or from a value of its own.
_OURS = {
    "fetcher": {"proxies_file", "policy_file"},
    "solver": {"api_key", "providers", "proxies"},
    "monitor": {"host", "port", "token", "webhook"},
}
_HIDDEN = {"clickhouse", "health"}
# Of the common sections: values of their own are for these, or nothing in a cluster is.
_BY_VALUES = {
    "kafka": {*KafkaSettings.model_fields} - {"session_timeout_s"},
    "telemetry": {"log_level", "trace_ratio", "metrics", "otlp_endpoint"},
    "runtime": {"drain_deadline_s"},
}


def schema() -> dict[str, Any]:
    """Return the schema of the values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the Tidegate chart",
        **_of({**values, "global": {}}, ""),
    }


def readme() -> str:
    """Return the chart's README: what it installs, and every value with its comment."""
    lines = (CHART / "values.yaml").read_text("utf-8").splitlines()
    return _INTRODUCTION + "\n".join(_table(lines)) + "\n"


def _of(value: object, path: str) -> dict[str, Any]:
    general = re.sub(r"^services\.[a-z]+", "services.*", path)
    for key in (path, general):
        if key in _OVERRIDES:
            return _OVERRIDES[key]
    if path == "settings":
        return _names(_common_settings())
    if general == "services.*.settings":
        return _names(_service_settings(path.split(".")[1]))
    if isinstance(value, dict):
        return {
            "type": "object",
            "properties": {key: _of(each, f"{path}.{key}".lstrip(".")) for key, each in value.items()},
            "additionalProperties": False,
        }
    return {"type": _TYPES[type(value)]}


def _names(names: list[str]) -> dict[str, Any]:
    scalar = {"type": ["string", "number", "boolean"]}
    # Upper case as in the reference of the settings, or lower case as in the code.
    known = {written: scalar for name in names for written in (name, name.upper())}
    return {"type": "object", "properties": known, "additionalProperties": False}


def _common_settings() -> list[str]:
    names: list[str] = []
    for section, field in Settings.model_fields.items():
        kind = field.annotation
        if section not in _HIDDEN and isinstance(kind, type) and issubclass(kind, BaseModel):
            ours = _BY_VALUES.get(section, set())
            names += [f"{section}__{name}" for name in kind.model_fields if name not in ours]
    return names


def _service_settings(service: str) -> list[str]:
    section = (
        importlib.import_module(f"tidegate_{service}.settings").Settings.model_fields[service].annotation
    )
    return [name for name in section.model_fields if name not in _OURS.get(service, set())]


_INTRODUCTION = """\
# The Tidegate chart

<!-- Written by tools/chart_schema.py from values.yaml; a change by hand is lost. -->

Installs the services of Tidegate beside a Kafka and a ClickHouse that you have. It brings no broker and no
database. Topics and tables are created by hooks before an install or an upgrade.

    helm install tidegate helm/tidegate --namespace scraping --values my-values.yaml

Examples for common surroundings are in `examples/`. Secrets are named, never given as values; they are
mounted as files, and a new password or certificate for Kafka is used without a restart (a password of
SASL/PLAIN after one, which the next upgrade brings).

## Values

| Value | Default | Means |
|---|---|---|
"""


def _table(lines: list[str]) -> list[str]:
    rows, path, comment = [], list[str](), list[str]()
    for line in lines:
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# ").removeprefix("-- "))
            continue
        match = re.match(r"^( *)([A-Za-z]+):(?: (.*))?$", line)
        if match is None:
            comment = [] if not text else comment
            continue
        depth = len(match[1]) // 2
        path = [*path[:depth], match[2]]
        if match[3] is not None:
            rows.append(f"| `{'.'.join(path)}` | `{match[3]}` | {' '.join(comment)} |")
        comment = []
    return rows


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=2) + "\n", "utf-8")
    README.write_text(readme(), "utf-8")
    sys.stdout.write(f"{SCHEMA}\n{README}\n")
