"""What every image promises, read from its Dockerfile."""

import importlib
import importlib.util
import re
from pathlib import PurePosixPath

import pytest
from support.dockerfile import Dockerfile, Ignore, parse
from support.packaging import IMAGES, ROOT, SERVICES, ours, project, read, settings_of, unread
from tidegate.settings import load


@pytest.fixture(params=IMAGES)
def name(request: pytest.FixtureRequest) -> str:
    """Return each image's name in turn."""
    assert isinstance(request.param, str)
    return request.param


def dockerfile(name: str) -> Dockerfile:
    """Return an image's Dockerfile."""
    return parse(read(f"{IMAGES[name][0]}/Dockerfile"))


def test_both_stages_start_from_the_one_pinned_base(name: str) -> None:
    """One digest for all images and stages, replaced by one argument."""
    file = dockerfile(name)
    assert file.arguments == dockerfile("fetcher").arguments
    ((argument, base),) = file.arguments.items()
    assert argument == "PYTHON_IMAGE"
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert [stage.base for stage in file.stages] == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]


def test_dependencies_come_from_the_locked_list_of_the_image(name: str) -> None:
    """Exact versions with hashes, and the build back end too."""
    runs = " ".join(run.rest for run in dockerfile(name).stages[0].all("RUN"))
    assert f"uv pip sync --require-hashes requirements/{name}.txt" in runs
    assert "--no-deps" in runs
    assert "--require-build-hashes" in runs
    assert " -e " not in runs
    assert "--editable" not in runs


def test_our_own_code_is_built_without_a_cache(name: str) -> None:
    """The installer looks at pyproject.toml alone: with a cache, changed sources would not be built."""
    install = dockerfile(name).stages[0].all("RUN")[-1]
    assert "./shared" in install.rest
    assert "--no-cache" in install.rest
    assert "mount" not in install.flags


def test_all_images_use_one_version_of_the_installer() -> None:
    """One pin to raise, not four."""
    pins = {dockerfile(name).stages[0].one("ARG").rest for name in IMAGES}
    assert len(pins) == 1
    assert next(iter(pins)).startswith("UV_VERSION=")


def test_the_image_runs_as_nobody_in_particular(name: str) -> None:
    """A fixed number that is not root, so that a cluster can check it without a user list."""
    user = dockerfile(name).final.one("USER").rest
    uid, _, gid = user.partition(":")
    assert int(uid) > 1000
    assert int(gid) > 1000


def test_the_final_stage_only_copies(name: str) -> None:
    """No step runs in it and only the finished environment enters it."""
    final = dockerfile(name).final
    assert not final.all("RUN")
    copy = final.one("COPY")
    assert copy.flags == {"from": "builder"}
    assert copy.words() == ["/opt/tidegate", "/opt/tidegate"]


def test_the_process_gets_the_signal_itself(name: str) -> None:
    """No shell stands between the engine and a drain."""
    final = dockerfile(name).final
    assert final.one("STOPSIGNAL").rest == "SIGTERM"
    assert final.one("ENTRYPOINT").exec_form()
    assert not final.all("CMD")


def test_the_entrypoint_exists(name: str) -> None:
    """A module that can be run, or a command that the package declares."""
    command = dockerfile(name).final.one("ENTRYPOINT").exec_form()
    folder, package = IMAGES[name]
    if command[0] == "python":
        assert command == ["python", "-m", package]
        assert importlib.util.find_spec(f"{package}.__main__") is not None
    else:
        module, _, function = project(folder)["scripts"][command[0]].partition(":")
        assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_asked_for_its_health(service: str) -> None:
    """The cheap probe asks on the port that the image sets and exposes."""
    final = dockerfile(service).final
    check = final.one("HEALTHCHECK")
    assert check.rest == 'CMD ["python", "-m", "tidegate.probe"]'
    port = load(settings_of(service), ours(final.environment())).health.port
    assert final.one("EXPOSE").words()[0] == str(port)


def test_every_variable_is_a_setting(name: str) -> None:
    """A variable with our prefix in a Dockerfile is read by the process that the image starts."""
    environment = ours(dockerfile(name).final.environment())
    kind = settings_of(name)
    load(kind, environment)
    assert not unread(environment, kind)


def test_an_image_says_what_it_is(name: str) -> None:
    """Standard labels: title, description, licence."""
    labels = dockerfile(name).final.one("LABEL").pairs()
    assert labels["org.opencontainers.image.title"] == f"tidegate-{name}"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.description"]


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".env",
        ".venv/bin/python",
        ".tidegate/data",
        "secrets/key.txt",
        "services/fetcher/.env",
        "shared/src/tidegate/__pycache__/records.cpython-311.pyc",
        "tests/unit/test_containers_images.py",
    ],
)
def test_the_build_context_holds_no_secrets_and_no_history(path: str) -> None:
    """The list of what enters a build is one of what may, not of what may not."""
    assert Ignore(read(".dockerignore")).excludes(PurePosixPath(path))


def test_every_source_file_enters_the_build_context() -> None:
    """A data file beside the sources is part of the package."""
    ignore = Ignore(read(".dockerignore"))
    for folder in ("shared/src", "services/fetcher/src", "cli/src"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert not ignore.excludes(PurePosixPath(path.relative_to(ROOT).as_posix())), path
