"""The workspace is put together as the house rules say."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
from support.packaging import IMAGES, MEMBERS, ROOT, project, read


@pytest.mark.parametrize("folder", ["shared", "services", "cli"])
def test_a_member_folder_is_not_importable(folder: str) -> None:
    """`import shared` or `import services` would find a second copy of the code, so it must fail."""
    assert not (ROOT / folder / "__init__.py").exists()
    for inner in (ROOT / folder).iterdir():
        assert not (inner / "__init__.py").exists()


def test_import_shared_and_import_services_fail() -> None:
    """The library is called tidegate; the folder names mean nothing to Python."""
    code = "import importlib.util as u; print([n for n in ('shared', 'services') if u.find_spec(n)])"
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("member", MEMBERS)
def test_members_pin_each_other_exactly(member: str) -> None:
    """A member works with the build of the others that it was tested with, and with no other."""
    versions = {project(other)["name"]: project(other)["version"] for other in MEMBERS}
    for dependency in project(member).get("dependencies", []):
        name = re.split(r"[\[<>=!~ ;]", dependency)[0]
        if name in versions:
            assert dependency == f"{name}=={versions[name]}"


def test_all_members_have_one_version() -> None:
    """The images of a release are built from one tree and are called the same."""
    assert len({project(member)["version"] for member in MEMBERS}) == 1


@pytest.mark.parametrize("member", [*MEMBERS, "."])
def test_no_member_can_be_uploaded_by_mistake(member: str) -> None:
    """Package indexes refuse what carries this classifier."""
    assert "Private :: Do Not Upload" in project(member)["classifiers"]


@pytest.mark.parametrize("member", MEMBERS)
def test_every_package_is_typed(member: str) -> None:
    """The marker file tells a type checker that the annotations count."""
    assert len(list((ROOT / member / "src").glob("*/py.typed"))) == 1


@pytest.mark.parametrize("name", [*IMAGES, "dev"])
def test_a_locked_list_names_no_address(name: str) -> None:
    """A lock without addresses serves any package index or mirror."""
    text = read(f"requirements/{name}.txt")
    assert "://" not in text
    assert " @ " not in text


@pytest.mark.parametrize("name", [*IMAGES, "dev"])
def test_a_locked_list_is_exact_and_hashed(name: str) -> None:
    """Every line is one version of one package, with hashes."""
    entries = re.split(r"\n(?=[a-z0-9])", read(f"requirements/{name}.txt").strip())
    assert len(entries) > 10
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,_-]+\])?==", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]


@pytest.mark.parametrize("name", IMAGES)
def test_a_locked_list_holds_what_its_member_asks_for(name: str) -> None:
    """A dependency that was added without `make lock` turns red."""
    own = {project(member)["name"] for member in MEMBERS}
    locked = {re.split(r"[\[=]", line)[0] for line in read(f"requirements/{name}.txt").splitlines()}
    wanted: set[str] = set()
    folders = {project(member)["name"]: member for member in MEMBERS}
    pending = [f"tidegate-{name}"]
    while pending:
        for dependency in project(folders[pending.pop()]).get("dependencies", []):
            package = re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ;]", dependency)[0]).lower()
            if package in own:
                pending.append(package)
            else:
                wanted.add(package)
    assert wanted <= locked


def test_the_import_contracts_know_every_package() -> None:
    """A package that the linter does not know may import what it likes."""
    table = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]
    packages = {
        path.parent.name for member in MEMBERS for path in (ROOT / member / "src").glob("*/__init__.py")
    }
    assert set(table["root_packages"]) == packages


def test_the_ci_script_can_be_run() -> None:
    """It is one command, for a person and for a machine."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -eu" in "\n".join(lines)
    for target in ("check", "test", "test-kafka"):
        assert re.search(rf"^step {target}$", "\n".join(lines), re.MULTILINE), target
