"""Each Dockerfile's copy and install steps, carried out in clean folders, give an image that starts."""

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from support.packaging import IMAGES, MEMBERS, ROOT, SERVICES
from support.replay import Image, ReplayError, base_python, replay


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ``bin`` folder that plays the base image's Python, one for all images."""
    return base_python(tmp_path_factory.mktemp("base") / "python")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Callable[[str], Image]:
    """Return a function that replays an image once, whoever asks for it."""

    @cache
    def replayed(name: str) -> Image:
        folder, _ = IMAGES[name]
        return replay(ROOT, f"{folder}/Dockerfile", tmp_path_factory.mktemp(name), base)

    return replayed


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest, build: Callable[[str], Image]) -> Image:
    """Return each image in turn."""
    return build(request.param)


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest, build: Callable[[str], Image]) -> Image:
    """Return each service's image in turn."""
    return build(request.param)


class Ready(BaseHTTPRequestHandler):
    """Answers /ready with the status that its server was given, and nothing else."""

    status = 200

    def do_GET(self) -> None:
        """Answer one probe."""
        self.send_response(self.status if self.path == "/ready" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def ready() -> Iterator[tuple[int, type[Ready]]]:
    """Serve /ready on a free loopback port; the handler's ``status`` may be changed."""
    handler = type("Handler", (Ready,), {})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port, handler
    server.shutdown()
    thread.join()
    server.server_close()


def written(root: Path) -> set[Path]:
    """Return every path below an image's root, but for /tmp."""
    return {path for path in root.rglob("*") if path.relative_to(root).parts[0] != "tmp"}


def test_nothing_but_the_environment_is_in_the_image(image: Image) -> None:
    """The final stage holds the installed environment: no sources, no lists, no installer."""
    assert {path.name for path in image.root.iterdir()} <= {"opt", "tmp"}
    assert {path.name for path in (image.root / "opt").iterdir()} == {"tidegate"}
    assert not (image.root / "opt/tidegate/bin/uv").exists()


def test_the_packages_are_installed_and_not_linked_to_sources(image: Image) -> None:
    """A non-editable install, so that the image is whole without the repository."""
    packages = image.root / "opt/tidegate/lib/python3.11/site-packages"
    assert (packages / "tidegate/records.py").is_file()
    assert not list(packages.glob("*editable*"))


@pytest.mark.parametrize("name", IMAGES)
def test_every_file_of_the_sources_is_in_the_image(name: str, build: Callable[[str], Image]) -> None:
    """Migrations, templates and tables of data are part of their packages, not only the modules."""
    packages = build(name).root / "opt/tidegate/lib/python3.11/site-packages"
    folder = IMAGES[name][0]
    for member in MEMBERS if name == "cli" else ("shared", folder):
        source = ROOT / member / "src"
        for path in source.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert (packages / path.relative_to(source)).is_file(), path


def test_the_command_line_explains_itself(build: Callable[[str], Image]) -> None:
    """`--help` works in the image as built: every import that it needs is there."""
    image = build("cli")
    result = image.run([*image.entrypoint, "--help"])
    assert result.returncode == 0, result.stderr
    assert "usage" in result.stdout.lower()


@pytest.mark.parametrize("name", ["topics", "migrate", "simulator", "demo-site", "cli"])
def test_a_composed_command_is_one_that_the_image_knows(name: str, build: Callable[[str], Image]) -> None:
    """Sub-commands and options in docker-compose.yml exist in the command line as built."""
    image = build("cli")
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"][name]
    words = service["command"]
    options = [word for word in words if word.startswith("--") and word != "--help"]
    entrypoint = service.get("entrypoint", image.entrypoint)
    commands = [] if "entrypoint" in service else [word for word in words if not word.startswith("--")]
    result = image.run([*entrypoint, *commands, "--help"])
    assert result.returncode == 0, result.stderr
    for option in options:
        assert f"{option} " in result.stdout


def test_a_misspelt_setting_ends_the_service_with_its_name(service: Image) -> None:
    """Exit code 2 and the variable's name, not a traceback."""
    result = service.run(service.entrypoint, {"TIDEGATE_KAFKA__BOOTSTRP": "127.0.0.1:1"})
    assert result.returncode == 2, result.stderr
    assert "TIDEGATE_KAFKA__BOOTSTRP" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("subcommand", [False, True], ids=["probe", "health"])
def test_health_says_what_ready_says(
    service: Image, ready: tuple[int, type[Ready]], *, subcommand: bool
) -> None:
    """The image's probe and the service's own `health` exit 0 for a ready process and 1 for another."""
    port, handler = ready
    assert service.health is not None
    command = [*service.entrypoint, "health"] if subcommand else service.health
    environment = {"TIDEGATE_HEALTH__PORT": str(port)}
    assert service.run(command, environment).returncode == 0
    handler.status = 503
    assert service.run(command, environment).returncode == 1


def test_health_is_bad_where_nothing_answers(service: Image) -> None:
    """A process that does not listen is not healthy, and the command does not hang."""
    assert service.health is not None
    result = service.run(service.health, {"TIDEGATE_HEALTH__PORT": "1"}, timeout_s=60)
    assert result.returncode == 1


def test_the_probe_loads_nothing_but_the_standard_library(service: Image) -> None:
    """It runs every ten seconds for ever, so it must not import the service."""
    code = "import sys, tidegate.probe; print(sorted(m.split('.')[0] for m in sys.modules))"
    result = service.run(["python", "-c", code])
    assert result.returncode == 0, result.stderr
    for package in ("aiohttp", "aiokafka", "asyncio", "msgspec", "pydantic"):
        assert f"'{package}'" not in result.stdout


def test_nothing_is_written_outside_tmp(service: Image) -> None:
    """The root file system may be read-only."""
    before = written(service.root)
    service.run(service.entrypoint, {"TIDEGATE_KAFKA__BOOTSTRP": "127.0.0.1:1"})
    assert written(service.root) == before


def test_a_needed_file_that_is_kept_out_of_the_context_turns_red(tmp_path: Path, base: Path) -> None:
    """The replay sees the context through .dockerignore, as a build does."""
    context = tmp_path / "context"
    for part in ("requirements", "shared", "services/solver"):
        shutil.copytree(ROOT / part, context / part, ignore=shutil.ignore_patterns("__pycache__"))
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    (context / ".dockerignore").write_text(ignore.replace("!requirements/*.txt", ""), encoding="utf-8")
    with pytest.raises(ReplayError, match=r"requirements/solver\.txt is not in the build context"):
        replay(context, "services/solver/Dockerfile", tmp_path / "image", base)
