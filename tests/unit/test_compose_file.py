"""docker-compose.yml is valid, whole and careful."""

import copy
import json
import re
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml
from support.dockerfile import parse
from support.packaging import IMAGES, SERVICES, ours, project, read, settings_of, unread
from tidegate.consume.deadlines import CLOSE_S, FLUSH_S, revocation_s
from tidegate.settings import Settings, load
from tidegate_storer.settings import StorerSettings

PASSED_ON = None


def composition() -> dict[str, Any]:
    """Return the file as it is, anchors merged."""
    return copy.deepcopy(_document())


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return document


def services() -> dict[str, dict[str, Any]]:
    """Return the services by name."""
    found: dict[str, dict[str, Any]] = _document()["services"]
    return found


def built() -> dict[str, dict[str, Any]]:
    """Return the services that we build ourselves."""
    return {name: service for name, service in services().items() if "build" in service}


def image_of(service: dict[str, Any]) -> str:
    """Return our name of the image that a service is built as."""
    return next(
        name
        for name, (folder, _) in IMAGES.items()
        if f"{folder}/Dockerfile" == service["build"]["dockerfile"]
    )


def demo_environment() -> dict[str, str]:
    """Return what compose.demo.env sets."""
    lines = [line for line in read("compose.demo.env").splitlines() if line and not line.startswith("#")]
    return dict(line.partition("=")[::2] for line in lines)


def resolved(value: Any, environment: dict[str, str]) -> str:
    """Replace ``${NAME:-default}`` in a value, as an engine does."""
    text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: environment.get(match[1]) or match[2], text)


def environment_of(service: dict[str, Any], outside: dict[str, str]) -> dict[str, str]:
    """Return what a service's process sees, its image's variables included."""
    seen = dict(parse(read(service["build"]["dockerfile"])).final.environment())
    for name, value in service.get("environment", {}).items():
        if value is not PASSED_ON:
            seen[name] = resolved(value, outside)
        elif name in outside:
            seen[name] = outside[name]
    return seen


def readers(name: str) -> list[type[Settings]]:
    """Return the settings classes that a service's process reads; the command line has many."""
    if name == "cli":
        return [Settings, *map(settings_of, SERVICES)]
    return [settings_of({"migrate": "storer"}.get(name, image_of(services()[name])))]


def seconds(duration: str) -> float:
    """Return a duration such as ``1m30s`` in seconds."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+)(us|ms|s|m|h)", duration))


def test_the_file_is_valid() -> None:
    """Against the part of the Compose Specification that it uses, closed."""
    schema = json.loads(read("tests/fixtures/compose.schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(composition())


def test_a_misspelt_key_is_refused() -> None:
    """The schema can fail."""
    schema = json.loads(read("tests/fixtures/compose.schema.json"))
    document = composition()
    document["services"]["fetcher"]["enviroment"] = {}
    with pytest.raises(jsonschema.ValidationError, match="enviroment"):
        jsonschema.Draft202012Validator(schema).validate(document)


def test_what_is_waited_for_exists_and_can_be_waited_for() -> None:
    """A healthy service has a health check, a completed one ends by itself, and no profile hides it."""
    for name, service in services().items():
        for other, how in service.get("depends_on", {}).items():
            awaited = services()[other]
            assert set(awaited.get("profiles", [])) <= set(service.get("profiles", [])), (name, other)
            if how["condition"] == "service_healthy":
                assert "healthcheck" in awaited or image_of(awaited) in SERVICES
            if how["condition"] == "service_completed_successfully":
                assert awaited["restart"] == "on-failure"


def test_networks_and_volumes_are_declared_and_used() -> None:
    """A name that is declared and not used is a left-over; one that is used and not declared, an error."""
    document = composition()
    networks = {network for service in services().values() for network in service["networks"]}
    mounts = {
        volume.split(":")[0] for service in services().values() for volume in service.get("volumes", [])
    }
    volumes = {mount for mount in mounts if not mount.startswith("./")}
    assert networks == set(document["networks"])
    assert volumes == set(document["volumes"])


def test_only_loopback_ports_are_published() -> None:
    """Nobody on the network reaches the broker or the database by accident."""
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_data_network_has_no_way_out() -> None:
    """Only those who must reach the internet do."""
    assert composition()["networks"]["data"]["internal"] is True
    outside = {name for name, service in services().items() if "web" in service["networks"]}
    assert outside == {"fetcher", "solver", "monitor", "simulator", "demo-site", "cli"}


@pytest.mark.parametrize("name", built())
def test_our_containers_are_confined(name: str) -> None:
    """Read-only root, no capabilities, no new privileges, bounded memory and processes."""
    service = built()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])
    assert "user" not in service, "the image's own user is right"


@pytest.mark.parametrize("name", sorted(set(services()) - set(built())))
def test_other_images_are_pinned_and_bounded(name: str) -> None:
    """A version, never latest, and limits all the same."""
    service = services()[name]
    assert re.search(r":v?\d+\.\d+", service["image"])
    assert service["mem_limit"]
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_gets_the_time_to_drain(name: str) -> None:
    """The grace period is what giving up partitions and closing take at most: Kafka may be away."""
    service = services()[name]
    deadline = load(settings_of(name), ours(environment_of(service, {}))).runtime.drain_deadline_s
    assert seconds(service["stop_grace_period"]) > revocation_s(deadline) + CLOSE_S + FLUSH_S


@pytest.mark.parametrize("outside", [{}, demo_environment()], ids=["plain", "demo"])
@pytest.mark.parametrize("name", built())
def test_every_variable_is_a_setting_that_the_process_reads(name: str, outside: dict[str, str]) -> None:
    """A misspelt or useless variable turns red, with and without the demo's settings."""
    service = built()[name]
    kinds = readers(name)
    environment = ours(environment_of(service, outside))
    for kind in kinds:
        load(kind, environment)
    passed_on = dict.fromkeys(ours(service.get("environment", {})), "")
    for given in (environment, passed_on):
        assert not set.intersection(*(set(unread(given, kind)) for kind in kinds))


def test_variables_that_are_handed_on_are_settings() -> None:
    """A variable without a value is checked by its name, for nothing sets it here."""
    for service, composed in built().items():
        known = {
            f"TIDEGATE_{section}__{field}".upper()
            for kind in readers(service)
            for section, own in kind()
            for field in type(own).model_fields
        }
        assert {
            name for name, value in composed.get("environment", {}).items() if value is PASSED_ON
        } <= known


def test_the_services_start_without_an_account_at_a_solving_service() -> None:
    """The solver ends without a key: it is there where a profile asks for it, and in the demo."""
    solver, demo = services()["solver"], demo_environment()
    assert set(solver["profiles"]) == {"solve", demo["COMPOSE_PROFILES"]}
    assert demo["TIDEGATE_SOLVER__API_KEY"]


def test_the_tables_are_told_how_long_to_keep_their_rows() -> None:
    """By the run that makes them: the storer itself never does."""
    kept = {
        f"TIDEGATE_STORER__{name}".upper() for name in StorerSettings.model_fields if name.startswith("ttl_")
    }
    assert kept
    assert kept <= set(services()["migrate"]["environment"])


def test_the_command_line_is_given_what_its_commands_look_at() -> None:
    """`doctor` judges the settings of fetcher and solver, `top` asks the monitor by a name that it takes."""
    given = services()["cli"]["environment"]
    for name in ("fetcher", "solver"):
        own = {
            each for each in services()[name]["environment"] if each.startswith(f"TIDEGATE_{name.upper()}__")
        }
        assert own
        assert own <= set(given)
    monitor = load(settings_of("monitor"), ours(environment_of(services()["monitor"], {})))
    assert "monitor" in monitor.model_dump()["monitor"]["hosts"]


def test_the_demo_sets_nothing_that_nobody_hands_on() -> None:
    """Each of its variables is taken up by some service."""
    taken = {name for service in services().values() for name in service.get("environment", {})}
    assert set(ours(demo_environment())) <= taken


def test_the_demo_solves_on_its_own_site_only() -> None:
    """Its settings open the demo site and nothing else; the key is worth nothing."""
    demo = demo_environment()
    assert demo["TIDEGATE_FETCHER__SOLVE_HOSTS"] == "demo-site:8080"
    assert demo["TIDEGATE_SOLVER__BASE_URL"].startswith("http://simulator:")


def test_without_the_demo_nothing_is_solved_and_no_private_address_is_asked() -> None:
    """The defaults are the careful ones."""
    fetcher = load(settings_of("fetcher"), ours(environment_of(services()["fetcher"], {})))
    section = fetcher.model_dump()["fetcher"]
    assert section["allow_private"] is False
    assert not section["solve_hosts"]


def test_images_carry_the_version_of_the_workspace() -> None:
    """What is built from this tree is called by its version."""
    version = project(".")["version"]
    for service in built().values():
        assert service["image"] == f"tidegate/{image_of(service)}:{version}"
