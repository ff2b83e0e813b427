"""Access rules: enough for what each service consumes, nothing for what it does not."""

import importlib
import json

import pytest
from support.kafka_roles import granted_by_commands
from support.packaging import read
from tidegate.topic_access import ROLES, Operation, Resource, Role, commands, rules, users
from tidegate.topics import DELAYS, HELD, LANES, Topic
from tidegate_cli.main import app
from typer.testing import CliRunner

BY_NAME = {role.name: role for role in ROLES}
Granted = set[tuple[str, str, str, str]]


@pytest.mark.parametrize("service", ["fetcher", "solver", "storer"])
def test_a_service_may_read_what_it_consumes(service: str) -> None:
    """Its plan's topics, all of them, in its own group."""
    plan = importlib.import_module(f"tidegate_{service}.app").PLAN
    role = BY_NAME[service]
    assert {*plan.topics, *plan.reserved, *plan.held, *plan.delays} <= set(role.reads)
    assert role.group == plan.group


def test_nobody_reads_jobs_beside_those_who_work_on_them() -> None:
    """Intake and delays hold secrets of producers: the fetcher and the operator only."""
    readers = {role.name for role in ROLES if set(LANES.values()) & set(role.reads)}
    assert readers == {"fetcher", "operator"}
    assert {role.name for role in ROLES if Topic.DEAD_LETTER in role.reads} == {"storer", "operator"}
    assert {role.name for role in ROLES if Topic.BUDGET in role.writes} == {"solver", "operator"}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_rules_name_declared_topics_and_groups_of_services(role: Role) -> None:
    """Nothing is allowed by a wildcard, and one group is read by one role."""
    groups = {each.group for each in ROLES if each.group}
    for rule in rules(role, "team-"):
        bare = rule.name.removeprefix("team-")
        assert rule.name.startswith("team-")
        assert bare in (set(Topic) if rule.resource is Resource.TOPIC else groups)
        if rule.resource is Resource.GROUP and Operation.READ in rule.operations:
            assert bare == role.group


def test_only_those_who_deploy_create_and_alter() -> None:
    """A service that makes topics would make wrong ones."""
    for role in ROLES:
        found = {operation for rule in rules(role) for operation in rule.operations}
        assert (Operation.CREATE in found) is (role.name in {"deployer", "operator"})


def test_both_forms_say_the_same() -> None:
    """What kafka-acls is told and what Strimzi is told are one table."""
    lines = commands(prefix="p-", bootstrap="b:9092", principal="User:tidegate-{role}")
    documents: list[dict[str, object]] = users(prefix="p-", cluster="main")
    by_strimzi: Granted = {
        (f"User:{document['metadata']['name']}", acl["resource"]["type"], acl["resource"]["name"], operation)  # type: ignore[index]
        for document in documents
        for acl in document["spec"]["authorization"]["acls"]  # type: ignore[index]
        for operation in acl["operations"]
    }
    assert set(granted_by_commands(lines)) == by_strimzi
    assert ("User:tidegate-solver", "group", "p-fetcher", "Describe") in by_strimzi


def test_the_command_prints_both_forms() -> None:
    """Commands for a shell, and documents that kubectl takes."""
    told = ["topics", "acls", "--bootstrap", "b:9092", "--prefix", "p-"]
    printed = CliRunner().invoke(app, told).output.splitlines()
    assert set(granted_by_commands(printed)) == set(
        granted_by_commands(commands(prefix="p-", bootstrap="b:9092", principal="User:tidegate-{role}"))
    )
    found = CliRunner().invoke(app, [*told, "--strimzi", "main"]).output
    documents = [json.loads(each) for each in found.split("---\n") if each.strip()]
    assert documents == users(prefix="p-", cluster="main")


@pytest.mark.parametrize("principal", ["{foo}", "{}", "User:{", "User:}", "User:{role!x}", "{{role}}"])
def test_a_principal_with_anything_else_in_braces_is_refused(principal: str) -> None:
    """A misspelt {role} would name nobody, or all roles alike."""
    found = CliRunner().invoke(app, ["topics", "acls", "--principal", principal])
    assert (found.exit_code, found.stdout) == (2, "")
    assert "{role}" in found.stderr
    assert "Traceback" not in found.stderr


def test_the_table_of_the_document_is_this_one() -> None:
    """What each role reads, writes and looks at."""
    section = read("docs/security.md").split("## Who may do what on Kafka")[1].split("\n## ")[0]
    for role in ROLES:
        lag = ", ".join(f"`{group}`" for group in role.watches) or "\u2013"
        row = f"| `{role.name}` | {role.what} | {named(role.reads)} | {named(role.writes)} | {lag} |"
        assert row in section, row


def named(topics: tuple[Topic, ...]) -> str:
    """Return topics as the document writes them: families by one name."""
    if set(topics) == set(Topic):
        return "everything"
    families = {"urls*": (*LANES.values(),), "urls-held*": (*HELD.values(),), "urls-retry-*": (*DELAYS,)}
    names = [name for name, members in families.items() if set(members) <= set(topics)]
    known = {member for name in names for member in families[name]}
    return ", ".join(f"`{name}`" for name in (*names, *(t for t in topics if t not in known))) or "\u2013"
