"""The public workflow does what a person does, with as few rights as it needs."""

import re
from typing import Any

import yaml
from support.packaging import read


def workflow() -> dict[str, Any]:
    """Return the workflow."""
    document: dict[str, Any] = yaml.safe_load(read(".github/workflows/ci.yml"))
    return document


def steps() -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def test_it_may_only_read() -> None:
    """No job asks for more than the whole has, and no step keeps the token."""
    assert workflow()["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in workflow()["jobs"].values())
    checkouts = [step for step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(workflow()["jobs"])
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_actions_are_pinned_by_commit() -> None:
    """A tag can be moved; a commit cannot."""
    for step in steps():
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step["uses"]


def test_every_job_has_an_end() -> None:
    """A job that hangs is stopped within the hour."""
    assert all(job["timeout-minutes"] <= 60 for job in workflow()["jobs"].values())


def test_its_make_targets_exist() -> None:
    """What it runs is what `make help` lists."""
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    used = set(
        re.findall(r"^make ([a-z-]+)$", "\n".join(step.get("run", "") for step in steps()), re.MULTILINE)
    )
    assert {"check", "test", "test-kafka", "demo"} <= used <= targets
