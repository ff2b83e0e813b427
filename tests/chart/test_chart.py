"""The chart without a cluster: what renders, what is refused, and that what renders is safe to run."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.chart import CHART, Manifest, Values, cases, notes, of_kind, pod_specs, render, values_of
from tidegate.settings import Settings, load
from tidegate_fetcher.settings import Settings as FetcherSettings
from tidegate_solver.settings import Settings as SolverSettings
from tidegate_storer.settings import Settings as StorerSettings

pytestmark = pytest.mark.chart

SERVICES = ("fetcher", "solver", "storer", "monitor")
EVERYTHING = CHART / "ci/everything-values.yaml"
PLAIN = CHART / "ci/plain-values.yaml"
STRIMZI = CHART / "examples/strimzi.yaml"
# Kinds of custom resources: their schemas are not Kubernetes' own (test_chart_resources.py).
_CUSTOM = {"ScaledObject", "TriggerAuthentication", "PodMonitor", "ServiceMonitor", "PrometheusRule"}
# Of secrets that are more than a word, by the file's name.
_CONTENTS = {
    "webhook": "https://hooks.example.com/x",
    "proxies": "http://proxy.example.com:3128",
    "providers": '{"capsolver": {"api_key": "one"}, "2captcha": {"api_key": "two"}}',
}


def changed(path: Path, **changes: Any) -> Values:
    """Return a file's values with some set: ``kafka__partitions=3``."""
    values = copy.deepcopy(values_of(path))
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return values


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.stem)
def test_every_manifest_is_what_kubernetes_takes(path: Path) -> None:
    """By Kubernetes' own schemas, strictly: no unknown field."""
    from kubernetes_validate.utils import validate  # noqa: PLC0415 -- there only where the chart's tests run

    manifests = render(values_of(path))
    # The monitor alone may be left out, and the plain values leave it out.
    assert len(of_kind(manifests, "Deployment")) == len(SERVICES) - (path == PLAIN)
    for manifest in manifests:
        if manifest["kind"] not in _CUSTOM:
            validate(manifest, "1.36", strict=True)


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.stem)
def test_every_pod_passes_restricted_pod_security(path: Path) -> None:
    """No root, no privilege, nothing to write to but /tmp, no token of the cluster."""
    for name, spec in pod_specs(render(values_of(path))).items():
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"], "a pod without a limit may eat its node"
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
        assert not any("hostPath" in volume for volume in spec["volumes"])
        assert not any(key in spec for key in ("hostNetwork", "hostPID", "hostIPC"))


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.stem)
def test_the_services_accept_their_environment(path: Path, tmp_path: Path) -> None:
    """What the chart writes is read by the settings classes that the pods start with."""
    import importlib  # noqa: PLC0415 -- the services' settings are loaded by name

    for name, manifest in of_kind(render(values_of(path)), "Deployment").items():
        service = name.removeprefix("demo-")
        environment = environment_of(manifest, tmp_path)
        kind = importlib.import_module(f"tidegate_{service}.settings").Settings
        settings = load(kind, environment)
        assert settings.kafka.bootstrap == values_of(path)["kafka"]["bootstrap"]


def environment_of(owner: Manifest, folder: Path) -> dict[str, str]:
    """Return a pod's environment, its secrets' files in a folder of the test's."""
    ((container, *_),) = [spec["containers"] for spec in pod_specs([owner]).values()]
    environment = {}
    for variable in container["env"]:
        value = variable.get("value", "from-a-secret")
        if value.startswith("/run/secrets/"):
            assert any(value.startswith(f"{mount['mountPath']}/") for mount in container["volumeMounts"]), (
                f"{variable['name']} names a file that nobody mounts"
            )
            file = folder / value.removeprefix("/run/secrets/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_CONTENTS.get(file.name, "secret"), "ascii")
            value = str(file)
        environment[variable["name"]] = value
    return environment


def test_every_file_that_is_named_is_in_its_secret() -> None:
    """A path in the environment is an item of the volume that is mounted there."""
    for path in cases():
        for name, spec in pod_specs(render(values_of(path))).items():
            (container, *_) = spec["containers"]
            items = {
                f"/run/secrets/{volume['name'].removesuffix('-secret')}/{item['path']}"
                for volume in spec["volumes"]
                for item in volume.get("secret", {}).get("items", ())
            }
            named = {each.get("value", "") for each in container["env"]}
            assert {value for value in named if value.startswith("/run/secrets/")} <= items, name


def test_no_value_holds_a_secret() -> None:
    """Secrets are named; the chart never makes one, and no manifest shows one."""
    for path in cases():
        manifests = render(values_of(path))
        assert not of_kind(manifests, "Secret")
        for spec in pod_specs(manifests).values():
            for variable in spec["containers"][0]["env"]:
                if variable["name"].endswith(("PASSWORD", "API_KEY")):
                    assert "value" not in variable


def test_every_service_may_have_a_kafka_user_of_its_own() -> None:
    """The secret is mounted, its user is named, and those without one have the common one."""
    own = {f"services__{name}__kafkaSecret": f"kafka-{name}" for name in ("fetcher", "solver")}
    others = {"hooks__kafkaSecret": "kafka-deployer", "autoscaling__kafkaSecret": "kafka-keda"}
    others["doctor__kafkaSecret"] = "kafka-operator"
    manifests = render(changed(STRIMZI, **own, **others))
    found = {}
    for name, spec in pod_specs(manifests).items():
        (volume,) = [each for each in spec["volumes"] if each["name"] == "kafka-secret"]
        (user,) = [each for each in spec["containers"][0]["env"] if each["name"] == "TIDEGATE_KAFKA__USER"]
        found[name.removeprefix("demo-")] = volume["secret"]["secretName"]
        assert user["valueFrom"]["secretKeyRef"]["name"] == volume["secret"]["secretName"]
    assert found == {
        "fetcher": "kafka-fetcher",
        "solver": "kafka-solver",
        "storer": "kafka-credentials",
        "monitor": "kafka-credentials",
        "topics": "kafka-deployer",
        "migrate": "kafka-deployer",
        "doctor": "kafka-operator",
    }
    (trigger,) = of_kind(manifests, "TriggerAuthentication").values()
    assert {each["name"] for each in trigger["spec"]["secretTargetRef"]} == {"kafka-keda"}


def test_an_autoscaled_service_has_no_count_of_its_own() -> None:
    """An upgrade would set it back."""
    deployments = of_kind(render(values_of(EVERYTHING)), "Deployment")
    assert {name for name, each in deployments.items() if "replicas" in each["spec"]} == {"demo-monitor"}
    plain = of_kind(render(values_of(PLAIN)), "Deployment")
    assert {name: each["spec"]["replicas"] for name, each in plain.items()} == {
        "demo-fetcher": 2,
        "demo-solver": 1,
        "demo-storer": 2,
    }


def test_the_grace_period_is_longer_than_the_drain() -> None:
    """One value: what the services add to it is held in tests/unit/test_chart_files.py."""
    for path in cases():
        drain = values_of(path).get("drainSeconds", 20)
        for deployment in of_kind(render(values_of(path)), "Deployment").values():
            spec = deployment["spec"]["template"]["spec"]
            assert spec["terminationGracePeriodSeconds"] == drain + 50
            (container, *_) = spec["containers"]
            assert {"name": "TIDEGATE_RUNTIME__DRAIN_DEADLINE_S", "value": str(drain)} in container["env"]


def test_the_fetcher_reaches_public_addresses_only() -> None:
    """And the storer none at all beside its data; both resolve names."""
    policies = of_kind(render(values_of(STRIMZI)), "NetworkPolicy")
    outside = [rule for rule in policies["demo-fetcher"]["spec"]["egress"] if "ipBlock" in str(rule)]
    (block, *_) = outside[0]["to"]
    assert block["ipBlock"]["cidr"] == "0.0.0.0/0"
    assert {"10.0.0.0/8", "169.254.0.0/16", "127.0.0.0/8"} <= set(block["ipBlock"]["except"])
    for name in ("demo-storer", "demo-monitor"):
        assert "ipBlock" not in str(policies[name]["spec"]["egress"])


def test_the_monitors_page_is_reached_and_its_webhook_only_when_there_is_one() -> None:
    """Its service and policy name the ports it listens on; no other service has a page."""
    manifests = render(values_of(EVERYTHING))
    policies = of_kind(manifests, "NetworkPolicy")
    open_ports = {
        name: [each["port"] for rule in policy["spec"]["ingress"] for each in rule["ports"]]
        for name, policy in policies.items()
    }
    assert open_ports.pop("demo-monitor") == [8090, 8095]
    assert set(map(tuple, open_ports.values())) == {(8090,)}
    assert "ipBlock" in str(policies["demo-monitor"]["spec"]["egress"])
    service = of_kind(manifests, "Service")["demo-monitor"]
    pod = of_kind(manifests, "Deployment")["demo-monitor"]["spec"]["template"]
    listening = {each["name"]: each["containerPort"] for each in pod["spec"]["containers"][0]["ports"]}
    assert {each["targetPort"]: each["port"] for each in service["spec"]["ports"]} == listening
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


def test_the_test_pod_asks_the_doctor_with_what_the_services_have(tmp_path: Path) -> None:
    """Accounts and proxies are judged by the settings of those who use them, from its own environment."""
    manifests = render(values_of(EVERYTHING))
    (pod,) = of_kind(manifests, "Pod").values()
    (container,) = pod["spec"]["containers"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert container["args"] == ["doctor"]
    assert "/cli@" in container["image"]
    environment = environment_of(pod, tmp_path)
    solver = load(SolverSettings, environment)
    assert solver.solver.api_key.get_secret_value() == "secret"
    assert solver.clickhouse.url == values_of(EVERYTHING)["clickhouse"]["url"]
    assert load(FetcherSettings, environment).fetcher.site_concurrency == 2
    own = {name: environment_of(each, tmp_path) for name, each in of_kind(manifests, "Deployment").items()}
    for name, lacks in (
        ("demo-fetcher", {"TIDEGATE_FETCHER__POLICY_FILE", "HTTPS_PROXY"}),
        ("demo-solver", set()),
    ):
        assert own[name].items() - environment.items() <= {
            each for each in own[name].items() if each[0] in lacks
        }
    assert "ipBlock" in str(of_kind(manifests, "NetworkPolicy")["demo-doctor"]["spec"]["egress"])


def test_the_hook_that_makes_the_tables_has_the_storers_settings(tmp_path: Path) -> None:
    """It is what tells the tables how long they keep their rows."""
    values = changed(STRIMZI, services__storer__settings={"TTL_DAYS": 30, "ttl_dead_letters_days": 60})
    job = of_kind(render(values), "Job")["demo-migrate"]
    storer = load(StorerSettings, environment_of(job, tmp_path)).storer
    assert (storer.ttl_days, storer.ttl_dead_letters_days, storer.ttl_solves_days) == (30, 60, None)


def test_without_the_solver_no_account_is_needed_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    """Its switch takes deployment, policy, budget and the doctor's key with it."""
    values = changed(PLAIN, services__solver={"enabled": False}, networkPolicy={"dataPeers": [{}]})
    values["podDisruptionBudget"] = {"enabled": True}
    manifests = render(values)
    assert "demo-fetcher" in {each["metadata"]["name"] for each in manifests}
    assert "demo-solver" not in {each["metadata"]["name"] for each in manifests}
    (pod,) = of_kind(manifests, "Pod").values()
    assert "solver" not in str(pod["spec"]["volumes"])
    assert not load(SolverSettings, environment_of(pod, tmp_path)).solver.api_key.get_secret_value()
    assert "Nothing is solved" in notes(values)


def test_several_accounts_come_from_one_key_of_the_secret(tmp_path: Path) -> None:
    """Solver and doctor read them as a file, and need no single key beside it."""
    manifests = render(changed(STRIMZI, services__solver__providersKey="accounts"))
    (pod,) = of_kind(manifests, "Pod").values()
    for owner in (of_kind(manifests, "Deployment")["demo-solver"], pod):
        environment = environment_of(owner, tmp_path)
        assert "TIDEGATE_SOLVER__API_KEY_FILE" not in environment
        assert set(load(SolverSettings, environment).solver.accounts()) == {"capsolver", "2captcha"}
        (spec,) = pod_specs([owner]).values()
        (volume,) = [each for each in spec["volumes"] if each["name"] == "solver-secret"]
        assert volume["secret"]["items"] == [{"key": "accounts", "path": "providers"}]


def test_the_notes_say_whom_the_key_is_given_to() -> None:
    """Also where nobody named a solving service: then it is the settings' default."""
    default = SolverSettings().solver.provider
    assert f"are solved by {default}, which" in notes(changed(STRIMZI, services__solver__settings={}))
    named = notes(changed(STRIMZI, services__solver__settings={"provider": "2captcha"}))
    assert "are solved by 2captcha, which" in named
    assert "none is named yet" not in named
    several = notes(changed(STRIMZI, services__solver__providersKey="accounts"))
    assert "the accounts under accounts" in several


@pytest.mark.parametrize("path", sorted(CHART.glob("examples/*.yaml")), ids=lambda path: path.stem)
def test_every_example_names_the_solving_service_of_its_key(path: Path) -> None:
    """A key is never sent to a vendor whom nobody chose."""
    assert values_of(path)["services"]["solver"]["settings"]["PROVIDER"]


def test_the_proxies_and_the_policy_reach_those_who_read_them(tmp_path: Path) -> None:
    """The list as a secret's file for fetcher and solver, the rules as they were written for the fetcher."""
    manifests = render(values_of(EVERYTHING))
    deployments = of_kind(manifests, "Deployment")
    named = {name: environment_of(each, tmp_path) for name, each in deployments.items()}
    assert {name for name, each in named.items() if "PROXIES_FILE" in str(each)} == {
        "demo-fetcher",
        "demo-solver",
    }
    settings = load(SolverSettings, named["demo-solver"])
    assert [each.get_secret_value() for each in settings.solver.proxies.values()] == [_CONTENTS["proxies"]]
    policy = named["demo-fetcher"]["TIDEGATE_FETCHER__POLICY_FILE"]
    pod = deployments["demo-fetcher"]["spec"]["template"]["spec"]
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "policy"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "policy"]
    content = of_kind(manifests, "ConfigMap")[volume["configMap"]["name"]]["data"]
    assert policy == f"{mount['mountPath']}/policy.toml"
    assert content == {"policy.toml": values_of(EVERYTHING)["services"]["fetcher"]["policy"]}


def test_every_service_is_scraped_under_the_name_that_the_rules_know() -> None:
    """By pods or by services: what is selected has the port, and a label of which the job's name is made."""
    by_service, by_pod = render(values_of(EVERYTHING)), render(values_of(STRIMZI))
    services = of_kind(by_service, "Service")
    pods = [each["spec"]["template"] for each in of_kind(by_pod, "Deployment").values()]
    for monitor, listed in (
        (of_kind(by_service, "ServiceMonitor")["demo"], services.values()),
        (of_kind(by_pod, "PodMonitor")["demo"], pods),
    ):
        spec = monitor["spec"]
        (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
        (relabeling,) = endpoint["relabelings"]
        assert len(listed) == len(SERVICES)
        jobs = set()
        for each in listed:
            assert spec["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
            ports = each["spec"].get("ports") or each["spec"]["containers"][0]["ports"]
            assert endpoint["port"] in {port["name"] for port in ports}
            component = each["metadata"]["labels"]["app.kubernetes.io/component"]
            jobs.add(relabeling["replacement"].replace("$1", component))
        assert jobs == {f"tidegate-{name}" for name in SERVICES}
    for name, service in services.items():
        assert (service["spec"].get("clusterIP") == "None") == (name != "demo-monitor")


def test_rules_and_dashboards_arrive_as_they_are_written() -> None:
    """Braces in them are Prometheus' and Grafana's, and no template of Helm's."""
    manifests = render(values_of(EVERYTHING))
    rules = yaml.safe_load((CHART / "files/rules.yml").read_text("utf-8"))
    assert of_kind(manifests, "PrometheusRule")["demo"]["spec"] == rules
    dashboards = of_kind(manifests, "ConfigMap")["demo-dashboards"]
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    files = {path.name: path.read_text("utf-8") for path in CHART.glob("files/dashboards/*.json")}
    assert len(files) == 5
    assert dashboards["data"] == files
    plain = render(values_of(PLAIN))
    assert not {each["kind"] for each in plain} & {"ConfigMap", "PrometheusRule", "ServiceMonitor", "Service"}


def test_without_the_monitor_nothing_of_it_is_left() -> None:
    """Its switch takes service, account and policy with it."""
    manifests = render(changed(STRIMZI, services__monitor={"enabled": False}))
    names = {each["metadata"]["name"] for each in manifests}
    assert "demo-storer" in names
    assert "demo-monitor" not in names


def test_a_monitor_has_no_budget() -> None:
    """A node drain may take it: another one knows after seconds what it knew."""
    budgets = of_kind(render(values_of(STRIMZI)), "PodDisruptionBudget")
    assert set(budgets) == {"demo-fetcher", "demo-solver", "demo-storer"}


def test_selectors_of_services_do_not_overlap() -> None:
    """A budget or a policy of one service never catches another one's pods."""
    manifests = render(values_of(STRIMZI))
    labels = {
        name: each["spec"]["template"]["metadata"]["labels"]
        for name, each in of_kind(manifests, "Deployment").items()
    }
    for name, budget in of_kind(manifests, "PodDisruptionBudget").items():
        wanted = budget["spec"]["selector"]["matchLabels"].items()
        assert [owner for owner, has in labels.items() if wanted <= has.items()] == [name]


def test_hooks_run_before_anything_else_and_may_run_twice() -> None:
    """Topics first, tables second, each at an install and at an upgrade."""
    jobs = of_kind(render(values_of(STRIMZI)), "Job")
    arguments = {
        name: each["spec"]["template"]["spec"]["containers"][0]["args"] for name, each in jobs.items()
    }
    assert arguments == {"demo-topics": ["topics", "apply"], "demo-migrate": ["migrate"]}
    for each in jobs.values():
        assert each["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kafka__bootstrap": ""}, "kafka.bootstrap is empty"),
        ({"services__monitor__existingSecret": ""}, "services.monitor.existingSecret is empty"),
        ({"services__monitor__settings__TOKEN": "x"}, "TOKEN"),
        (
            {"proxies__existingSecret": "x", "services__fetcher__settings__PROXIES_URL": "https://list"},
            "both name a list of proxies",
        ),
        ({"kafka__minInsyncReplicas": 4}, "nothing could be produced"),
        ({"kafka__existingSecret": ""}, "kafka.existingSecret is empty"),
        ({"services__solver__existingSecret": ""}, "services.solver.existingSecret is empty"),
        ({"services__solver__enabled": False}, "but its autoscaling is on"),
        (
            {"services__solver": {"enabled": False}, "services__fetcher__settings": {"solve_hosts": "*"}},
            "would wait for an answer for ever",
        ),
        (
            {
                "services__solver": {"enabled": False},
                "services__fetcher": {"policy": '[[host]]\nmatch = ["shop.example"]\nsolve = true\n'},
            },
            "policy lets challenges be solved",
        ),
        (
            {
                "services__solver": {"enabled": False},
                "services__fetcher": {"policy": "default = {delay_s = 1, solve=true}\n"},
            },
            "policy lets challenges be solved",
        ),
        (
            {
                "services__solver": {"enabled": False},
                "services__fetcher": {"extraEnv": [{"name": "TIDEGATE_FETCHER__SOLVE_HOSTS", "value": "*"}]},
            },
            "extraEnv has TIDEGATE_FETCHER__SOLVE_HOSTS",
        ),
        ({"services__solver__settings__PROVIDERS": "{}"}, "PROVIDERS"),
        ({"settings": {"KAFKA__PREFIX": "x"}}, "KAFKA__PREFIX"),
        ({"services__fetcher__autoscaling__maxReplicas": 24}, "at most 21 replicas can be reached"),
        ({"services__fetcher__autoscaling__minReplicas": 21}, "minReplicas is above maxReplicas"),
        (
            {"services__storer__autoscaling__enabled": False, "services__storer__replicas": 25},
            "services.storer.replicas is 25",
        ),
        ({"networkPolicy__dataPeers": []}, "networkPolicy.dataPeers is empty"),
        ({"telemetry": {"metrics": "otlp"}}, "telemetry.otlpEndpoint is empty"),
        ({"telemetry__serviceMonitor": {"enabled": True}}, "would be scraped twice"),
        ({"telemetry__metrics": "off"}, "only with telemetry.metrics prometheus"),
        ({"checkCapabilities": True}, "needs KEDA"),
        ({"checkCapabilities": True, "autoscaling__by": "hpa"}, "needs the Prometheus operator"),
        ({"autoscaling__by": "cron"}, "autoscaling/by"),
        (
            {"autoscaling__by": "hpa", "services__fetcher__autoscaling__minReplicas": 0},
            "which a plain HPA cannot reach",
        ),
        ({"autoscaling__by": "hpa", "services__monitor__enabled": False}, "knows the lag from the monitor"),
        (
            {
                "autoscaling__by": "hpa",
                "telemetry": {"metrics": "off"},
            },
            "scales by what Prometheus scrapes",
        ),
        ({"kafka__bootstrp": "x"}, "bootstrp"),
        ({"services__fetcher__settings__SOLVE_HOST": "x"}, "SOLVE_HOST"),
        ({"services__fetchr": {}}, "fetchr"),
        ({"kafka__partitions": "many"}, "partitions"),
        ({"telemetry__logLevel": "loud"}, "logLevel"),
        ({"clickhouse__url": "https://user:pw@host"}, "url"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_with_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    """It says what to change, or names the key that is wrong."""
    import helm_python  # noqa: PLC0415 -- as above

    with pytest.raises(helm_python.HelmError) as refusal:
        render(changed(STRIMZI, **changes))
    assert sentence in str(refusal.value)


def test_settings_that_no_value_is_for_reach_every_service(tmp_path: Path) -> None:
    """Those of Kafka and telemetry, too."""
    chosen = {"KAFKA__SESSION_TIMEOUT_S": 30, "TELEMETRY__STATS": False, "telemetry__metrics_interval_s": 60}
    for each in of_kind(render(changed(STRIMZI, settings=chosen)), "Deployment").values():
        settings = load(Settings, environment_of(each, tmp_path))
        assert settings.kafka.session_timeout_s == 30
        assert settings.telemetry.stats is False
        assert settings.telemetry.metrics_interval_s == 60


def test_the_linter_finds_no_error() -> None:
    """With every file of values."""
    import helm_python  # noqa: PLC0415 -- as above

    for path in cases():
        found = helm_python.lint(str(CHART), values={"checkCapabilities": False, **values_of(path)})
        assert not found["errors"], path


def test_the_schema_is_closed_everywhere() -> None:
    """Every object that has named properties refuses others."""

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if "properties" in node:
                assert node["additionalProperties"] is False
            for each in node.values():
                walk(each)

    walk(json.loads((CHART / "values.schema.json").read_text("utf-8")))
