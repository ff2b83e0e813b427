"""What the chart tells the autoscaler, read from the chart itself: bounds, formula, windows, polling.

Helm's engine is not needed: the template's literal YAML and the values' defaults are read, and `make chart`
holds this reading against a real render.
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import yaml
from support.chart import CHART

_TEMPLATES = (CHART / "templates" / "_scaling.tpl", CHART / "templates" / "autoscaling.yaml")
_VALUES = CHART / "values.yaml"


class Rule(msgspec.Struct, frozen=True):
    """One direction of the autoscaler's behaviour: at most ``pods`` in ``period_s``, after ``window_s``."""

    window_s: float
    pods: int
    period_s: float


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How one service is scaled. ``threshold`` and ``activation`` are records of lag."""

    service: str
    topics: tuple[str, ...]
    minimum: int
    maximum: int
    threshold: float
    activation: float
    up: Rule
    down: Rule
    polling_s: float
    cooldown_s: float
    captcha_mark: float
    formula: str

    @property
    def braked(self) -> bool:
        """Whether the formula holds at times."""
        return "?" in self.formula

    def metric(self) -> Callable[[Mapping[str, float]], float]:
        """Return the formula as a function of its triggers' readings."""
        return compiled(self.formula)


def compiled(formula: str) -> Callable[[Mapping[str, float]], float]:
    """Return a formula as a function, by the rules of the language that KEDA reads it in.

    Of that language the formulas use names, numbers, `+ * / > and or`, `min`, `max` and one conditional,
    which Python writes in another order.
    """
    found = re.fullmatch(r"(.*) \? (.*) : (.*)", formula)
    python = formula if found is None else f"({found[2]}) if ({found[1]}) else ({found[3]})"
    code = compile(python, "formula", "eval")
    names = {"__builtins__": {}, "min": min, "max": max}

    def metric(readings: Mapping[str, float]) -> float:
        value: float = eval(code, names, dict(readings))
        return value

    return metric


def policies(*, prometheus: bool = True, **changes: Mapping[str, object]) -> dict[str, Policy]:
    """Return the services' policies by the chart's defaults; ``changes`` are autoscaling values by service.

    Raises ValueError where the template no longer looks as this reading expects.
    """
    values: dict[str, Any] = yaml.safe_load(_VALUES.read_text("utf-8"))
    values = copy.deepcopy(values)
    for service, more in changes.items():
        values["services"][service]["autoscaling"] |= more
    template = "".join(each.read_text("utf-8") for each in _TEMPLATES)
    topics = {
        found[1]: tuple(re.findall(r'"([^"]+)"', found[2]))
        for found in re.finditer(r'^\s+"(\w+)" \(list ([^)]*)\)', template, re.MULTILINE)
    }
    behaviour = yaml.safe_load(_defined(template, "tidegate.scaling.behavior"))
    braked, plain = re.findall(r"^ +formula: (.*)$", template, re.MULTILINE)
    (needed,) = re.findall(r"\$needed = printf \"(.*?)\" ", template)
    if plain != "{{ $needed | quote }}" or needed.count("%") != 3:
        raise ValueError("the formulas of the template are not those that this reading knows")
    found = {}
    for service, names in topics.items():
        scaling = values["services"][service]["autoscaling"]
        lag = " + ".join(f"lag_{name.replace('-', '_')}" for name in names)
        wanting = needed.replace("%s", lag)
        for key in ("workPerReplica", "lagThreshold"):
            wanting = wanting.replace("%v", str(scaling[key]), 1)
        formula = wanting if prometheus else lag
        found[service] = Policy(
            service=service,
            topics=names,
            minimum=scaling["minReplicas"],
            maximum=scaling["maxReplicas"],
            threshold=scaling["lagThreshold"],
            activation=scaling["activationLag"],
            up=_rule(behaviour["scaleUp"]),
            down=_rule(behaviour["scaleDown"]),
            polling_s=values["autoscaling"]["pollingSeconds"],
            cooldown_s=values["autoscaling"]["cooldownSeconds"],
            captcha_mark=values["autoscaling"]["captchaRateMark"],
            formula=_filled(yaml.safe_load(braked), formula, scaling, values)
            if service == "fetcher" and prometheus
            else formula,
        )
    return found


def _filled(text: str, needed: str, scaling: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return the braked formula with the template's expressions replaced."""
    known = {
        "$needed": needed,
        "$scaling.lagThreshold": str(scaling["lagThreshold"]),
        "$.Values.autoscaling.captchaRateMark": str(values["autoscaling"]["captchaRateMark"]),
    }
    return re.sub(r"\{\{ (\S+) \}\}", lambda found: known[found[1]], text)


def _rule(behaviour: Mapping[str, Any]) -> Rule:
    (policy,) = behaviour["policies"]
    if policy["type"] != "Pods":
        raise ValueError(f"the policy is of type {policy['type']}")
    return Rule(behaviour["stabilizationWindowSeconds"], policy["value"], policy["periodSeconds"])


def _defined(template: str, name: str) -> str:
    """Return what a named piece of the templates holds."""
    _, _, rest = template.partition(f'{{{{- define "{name}" -}}}}')
    return rest.partition("{{- end -}}")[0]
