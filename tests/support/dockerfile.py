"""Reads our Dockerfiles, and .dockerignore, as a builder does. Knows what we use and refuses the rest."""

import json
import re
import shlex
from pathlib import Path, PurePosixPath

import msgspec

KNOWN = frozenset(
    "ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL RUN STOPSIGNAL USER WORKDIR".split()  # noqa: SIM905 -- reads best
)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


class Instruction(msgspec.Struct, frozen=True):
    """One instruction: its name, its flags (``--from=builder``), the rest as written, its line."""

    name: str
    flags: dict[str, str]
    rest: str
    line: int

    def words(self) -> list[str]:
        """Return the rest split as a shell splits it."""
        return shlex.split(self.rest)

    def pairs(self) -> dict[str, str]:
        """Return ``KEY=value`` words as a dictionary."""
        return dict(word.partition("=")[::2] for word in self.words())

    def exec_form(self) -> list[str]:
        """Return the JSON array of an exec form. Raises ValueError for a shell form."""
        words = json.loads(self.rest)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"line {self.line}: {self.name} is not in exec form")
        return words


class Stage(msgspec.Struct, frozen=True):
    """One build stage: the image it starts from, its name, its instructions."""

    base: str
    name: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        """Return every instruction of that name, in order."""
        return [instruction for instruction in self.instructions if instruction.name == name]

    def one(self, name: str) -> Instruction:
        """Return the only instruction of that name. Raises ValueError where there is not exactly one."""
        found = self.all(name)
        if len(found) != 1:
            raise ValueError(f"stage {self.name!r} has {len(found)} {name}, not one")
        return found[0]

    def environment(self) -> dict[str, str]:
        """Return what ENV sets in this stage, before substitution."""
        return {key: value for instruction in self.all("ENV") for key, value in instruction.pairs().items()}


class Dockerfile(msgspec.Struct, frozen=True):
    """A Dockerfile: the arguments declared before the first FROM, and the stages."""

    arguments: dict[str, str]
    stages: tuple[Stage, ...]

    @property
    def final(self) -> Stage:
        """The stage that becomes the image."""
        return self.stages[-1]


def substitute(text: str, variables: dict[str, str]) -> str:
    """Replace ``${NAME}`` and ``$NAME``. Raises KeyError for a variable that nothing has set."""
    return _VARIABLE.sub(lambda match: variables[match[1] or match[2]], text)


def _logical_lines(text: str) -> list[tuple[int, str]]:
    lines: list[tuple[int, str]] = []
    pending = ""
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not pending and not line.strip()):
            continue
        start = start if pending else number
        if line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1]
            continue
        lines.append((start, (pending + line).strip()))
        pending = ""
    if pending:
        raise ValueError(f"line {start}: the last line is continued by nothing")
    return lines


def _instruction(line: int, text: str) -> Instruction:
    name, _, rest = text.partition(" ")
    if name not in KNOWN:
        raise ValueError(f"line {line}: {name} is not an instruction that these Dockerfiles use")
    flags: dict[str, str] = {}
    rest = rest.strip()
    while name != "ARG" and rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        key, _, value = flag.removeprefix("--").partition("=")
        flags[key] = value
        rest = rest.strip()
    return Instruction(name, flags, rest, line)


def parse(text: str) -> Dockerfile:
    """Parse a Dockerfile. Raises ValueError, naming the line, for what we do not use."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line, logical in _logical_lines(text):
        instruction = _instruction(line, logical)
        if instruction.name == "FROM":
            base, *alias = instruction.words()
            name = alias[1] if len(alias) == 2 and alias[0].upper() == "AS" else str(len(stages))
            stages.append(Stage(base, name, ()))
        elif stages:
            last = stages[-1]
            stages[-1] = Stage(last.base, last.name, (*last.instructions, instruction))
        elif instruction.name == "ARG":
            arguments.update(instruction.pairs())
        else:
            raise ValueError(f"line {line}: {instruction.name} before the first FROM")
    if not stages:
        raise ValueError("there is no FROM")
    return Dockerfile(arguments, tuple(stages))


def _pattern(text: str) -> re.Pattern[str]:
    """Translate one .dockerignore pattern: ``*`` within a name, ``**`` over any number of folders."""
    out, rest = "", text
    while rest:
        if rest.startswith("**/"):
            out, rest = out + r"(?:.*/)?", rest[3:]
        elif rest.startswith("**"):
            out, rest = out + ".*", rest[2:]
        elif rest[0] == "*":
            out, rest = out + "[^/]*", rest[1:]
        elif rest[0] == "?":
            out, rest = out + "[^/]", rest[1:]
        else:
            out, rest = out + re.escape(rest[0]), rest[1:]
    return re.compile(out + r"\Z")


class Ignore:
    """The rules of a .dockerignore: the last pattern that matches a path, or a folder above it, decides."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for line in text.splitlines():
            pattern = line.strip()
            if not pattern or pattern.startswith("#"):
                continue
            keeps = pattern.startswith("!")
            self._rules.append((keeps, _pattern(pattern.removeprefix("!").strip("/"))))

    def excludes(self, path: PurePosixPath) -> bool:
        """Say whether a path, relative to the context, stays out of it."""
        candidates = [str(path), *(str(parent) for parent in path.parents if str(parent) != ".")]
        excluded = False
        for keeps, pattern in self._rules:
            if any(pattern.match(candidate) for candidate in candidates):
                excluded = not keeps
        return excluded


def context(root: Path, ignore: Ignore, under: str) -> list[Path]:
    """Return the files below ``root/under`` (or that file) that a build sees, relative to ``root``."""
    start = root / under
    files = [start] if start.is_file() else sorted(path for path in start.rglob("*") if path.is_file())
    relative = (path.relative_to(root) for path in files)
    return [path for path in relative if not ignore.excludes(PurePosixPath(path.as_posix()))]
