"""Carries out a Dockerfile's COPY and RUN steps in clean folders, without a container engine.

Each stage has a folder of its own that stands for its root; absolute paths of the Dockerfile are taken
below it. The base image's Python is played by a virtual environment that has pip and nothing else. What a
stage did not copy is not there; what .dockerignore keeps out of the context cannot be copied.

It cannot show what only an engine can: the user's rights, the base image's own libraries, layers.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
from support import dockerfile
from support.packaging import ROOT

# How fast and where from, not what: the replay shares the machine's package cache and compiles nothing.
OVERRIDES = {"UV_LINK_MODE": "hardlink", "UV_COMPILE_BYTECODE": "0"}
_PASSED = ("HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME")
_PASSED_PREFIXES = ("PIP_", "UV_", "SSL_", "HTTP", "http", "NO_PROXY", "no_proxy", "REQUESTS_")
# An absolute path in a command or a value, but for the base image's own folders.
_ABSOLUTE = re.compile(r"(?<![\w.$}/@-])/(?!usr/|bin\b|bin/|dev/|/)(?=[\w.-])")


class Image(msgspec.Struct, frozen=True):
    """A replayed image: the folder that stands for its root, its environment, its working directory."""

    root: Path
    environment: dict[str, str]
    workdir: Path
    entrypoint: list[str]
    health: list[str] | None
    log: str

    def run(
        self, arguments: list[str], environment: dict[str, str] | None = None, *, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as it would run in the image, and wait for it; outputs are text."""
        env = {**self.environment, **(environment or {})}
        program = shutil.which(arguments[0], path=env["PATH"])
        if program is None:
            raise FileNotFoundError(f"{arguments[0]} is not on the image's PATH")
        return subprocess.run(
            [program, *arguments[1:]],
            env=env,
            cwd=self.workdir,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def replay(context: Path, path: str, folder: Path, base_bin: Path) -> Image:
    """Carry out the Dockerfile at ``context/path`` below ``folder``.

    ``base_bin`` is the ``bin`` folder of the environment that plays the base image's Python. Raises
    ReplayError with the step's output where a step fails or copies nothing.
    """
    file = dockerfile.parse((context / path).read_text(encoding="utf-8"))
    ignore = dockerfile.Ignore((context / ".dockerignore").read_text(encoding="utf-8"))
    stages: dict[str, _Stage] = {}
    for number, stage in enumerate(file.stages):
        running = _Stage(folder / f"{number}-{stage.name}", base_bin, dict(file.arguments))
        for instruction in stage.instructions:
            running.step(instruction, context, ignore, stages)
        stages[stage.name] = running
    last = stages[file.final.name]
    health = file.final.all("HEALTHCHECK")
    return Image(
        root=last.root,
        environment=last.runtime_environment(),
        workdir=last.workdir,
        entrypoint=file.final.one("ENTRYPOINT").exec_form(),
        health=_health_command(health[0]) if health else None,
        log="".join(stage.log for stage in stages.values()),
    )


class ReplayError(Exception):
    """A step of a Dockerfile could not be carried out."""


def _health_command(instruction: dockerfile.Instruction) -> list[str]:
    kind, _, rest = instruction.rest.partition(" ")
    if kind != "CMD":
        raise ReplayError(f"line {instruction.line}: HEALTHCHECK without CMD")
    return dockerfile.Instruction("HEALTHCHECK", {}, rest.strip(), instruction.line).exec_form()


class _Stage:
    """One stage while it is replayed."""

    def __init__(self, root: Path, base_bin: Path, arguments: dict[str, str]) -> None:
        self.root = root
        self.workdir = root
        self.log = ""
        self._base_bin = base_bin
        self._arguments = arguments
        self._env: dict[str, str] = {}
        root.mkdir(parents=True)

    def step(
        self,
        instruction: dockerfile.Instruction,
        context: Path,
        ignore: dockerfile.Ignore,
        stages: "dict[str, _Stage]",
    ) -> None:
        """Carry out one instruction; those that only describe the image change nothing here."""
        match instruction.name:
            case "ARG":
                for key, value in instruction.pairs().items():
                    self._arguments.setdefault(key, value)
            case "ENV":
                known = {**self._arguments, **self._env}
                for key, value in instruction.pairs().items():
                    self._env[key] = dockerfile.substitute(value, known)
            case "WORKDIR":
                self.workdir = self._inside(instruction.rest)
                self.workdir.mkdir(parents=True, exist_ok=True)
            case "RUN":
                self._run(instruction)
            case "COPY" if "from" in instruction.flags:
                self._copy_from(instruction, stages[instruction.flags["from"]])
            case "COPY":
                self._copy(instruction, context, ignore)
            case _:
                pass

    def runtime_environment(self) -> dict[str, str]:
        """Return what a process started from this stage sees; the base image's Python comes last."""
        env = {key: self._below_root(value) for key, value in self._env.items()}
        (self.root / "tmp").mkdir(exist_ok=True)
        env["PATH"] = f"{env['PATH'].split(':')[0]}:/usr/bin:/bin"
        return env

    def _inside(self, path: str) -> Path:
        if path.startswith("/"):
            return self.root / path.lstrip("/")
        return self.workdir / path

    def _below_root(self, text: str) -> str:
        return _ABSOLUTE.sub(lambda _: f"{self.root}/", text)

    def _run(self, instruction: dockerfile.Instruction) -> None:
        passed = {
            key: value
            for key, value in os.environ.items()
            if key in _PASSED or key.startswith(_PASSED_PREFIXES)
        }
        passed.pop("UV_PYTHON", None)
        own = {key: self._below_root(value) for key, value in self._env.items()}
        env = {**self._arguments, **passed, **own, **OVERRIDES}
        env["PATH"] = f"{self._base_bin}:/usr/bin:/bin"
        result = subprocess.run(
            ["/bin/sh", "-ec", self._below_root(instruction.rest)],
            env=env,
            cwd=self.workdir,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.log += f"{instruction.rest}\n{result.stdout}"
        if result.returncode:
            raise ReplayError(f"line {instruction.line}: RUN ended with {result.returncode}\n{result.stdout}")

    def _copy(self, instruction: dockerfile.Instruction, context: Path, ignore: dockerfile.Ignore) -> None:
        *sources, destination = instruction.words()
        for source in sources:
            files = dockerfile.context(context, ignore, source)
            if not files:
                raise ReplayError(f"line {instruction.line}: {source} is not in the build context")
            for file in files:
                if (context / source).is_dir():
                    target = self._inside(destination) / file.relative_to(source)
                elif destination.endswith("/"):
                    target = self._inside(destination) / file.name
                else:
                    target = self._inside(destination)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(context / file, target)

    def _copy_from(self, instruction: dockerfile.Instruction, other: "_Stage") -> None:
        source, destination = instruction.words()
        target = self._inside(destination)
        # Links, not copies: the folders share a file system and nobody writes to them.
        shutil.copytree(other._inside(source), target, symlinks=True, copy_function=_link)
        # In an image both stages call it by the same path; here a script's first line must follow the move.
        for script in (target / "bin").iterdir():
            if script.is_symlink() or not script.is_file():
                continue
            data = script.read_bytes()
            if str(other.root).encode() in data:
                mode = script.stat().st_mode
                script.unlink()
                script.write_bytes(data.replace(str(other.root).encode(), str(self.root).encode()))
                script.chmod(mode)


def _link(source: str, target: str) -> None:
    if Path(source).is_symlink():
        Path(target).symlink_to(Path(source).readlink())
    else:
        os.link(source, target)


def base_python(folder: Path) -> Path:
    """Make the environment that plays the base image's Python: pip and nothing else. Returns its ``bin``.

    Made by uv where the machine has one, by the standard library's venv otherwise.
    """
    uv = shutil.which("uv", path=f"{os.environ['PATH']}:{ROOT / '.cache/uv/bin'}")
    if uv is not None:
        command = [uv, "venv", "--quiet", "--seed", "--python", "3.11", str(folder)]
    else:
        command = [os.path.realpath(sys.executable), "-m", "venv", str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder / "bin"
