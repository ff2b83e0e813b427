"""The operator's policy file: per host, what may be fetched, how often, and what may be solved. Pure.

One TOML file. ``[default]`` holds for every host; of the ``[[host]]`` entries the one with the most specific
pattern holds alone, and what it does not say is taken from the default, then from the settings. The file is
closed: a word that is not known here is refused, because a misspelt rule must not pass in silence.
"""

import re
import tomllib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tidegate.errors import ConfigurationError

MAX_BYTES = 1 << 20
MAX_HOSTS = 10_000
_PATTERN = re.compile(r"(?:\*|(?:\*\.)?(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(?::[1-9]\d{0,4})?")
_PLACE = re.compile(r"\{(\w+)\}")


class SubmitRecipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an answer is handed in where the page's own form is not the way.

    ``fields`` are sent as a form, or in the query of a GET; ``{token}`` in a value is the token, and the
    parts of an answer that has several stand by their names, such as ``{geetest_validate}``. After it the
    job's page is asked for again.
    """

    url: Annotated[str, Meta(min_length=1, description="Where to; relative to the page that asked.")]
    method: Literal["GET", "POST"] = "POST"
    fields: Annotated[dict[str, str], Meta(min_length=1)]


class ImageRecipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a host shows the picture of an image captcha, and the field that takes what it says."""

    selector: Annotated[str, Meta(min_length=1, max_length=500, description="A CSS selector.")]
    field: str | None = None


class HostDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be said of every host. Rates and concurrency are those of one fetcher."""

    robots: Annotated[bool, Meta(description="Whether robots.txt is obeyed.")] | None = None
    rate: Annotated[float, Meta(gt=0, le=100_000, description="Requests begun a second.")] | None = None
    burst: Annotated[int, Meta(ge=1, le=10_000, description="Of them at once after a rest.")] | None = None
    concurrency: Annotated[int, Meta(ge=1, le=1000, description="Requests at once.")] | None = None
    solve: Annotated[bool, Meta(description="Whether challenges may be solved, for money.")] | None = None
    max_cost: (
        Annotated[float, Meta(ge=0, le=100, description="US dollars for one solve; a job may ask for less.")]
        | None
    ) = None
    user_agent: (
        Annotated[str, Meta(min_length=1, max_length=512, description="For jobs that bring none.")] | None
    ) = None


class HostEntry(HostDefaults, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for the hosts that match."""

    match: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="`host`, `host:port`, `*.example.com` (subdomains only) or `*`; the most specific "
            "pattern of the file decides.",
        ),
    ]
    submit: SubmitRecipe | None = None
    image: ImageRecipe | None = None


class PolicyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    version: Literal[1] = 1
    default: HostDefaults = HostDefaults()
    host: tuple[HostEntry, ...] = ()


class HostPolicies:
    """The entries of a file by their patterns. Raises ConfigurationError where two claim the same one."""

    def __init__(self, file: PolicyFile) -> None:
        self.file = file
        self._by_pattern: dict[str, int] = {}
        for number, entry in enumerate(file.host):
            for pattern in entry.match:
                name = normal(pattern)
                if name in self._by_pattern:
                    first = self._by_pattern[name] + 1
                    raise ConfigurationError(f"host entries {first} and {number + 1} both match {name}")
                self._by_pattern[name] = number

    def entry_of(self, site: str) -> tuple[int, str] | None:
        """Return the number of the entry for a site (from 0), and the pattern that decided; None: no entry.

        A site is a host, with its port where it is not the scheme's own.
        """
        for pattern in _candidates(site):
            number = self._by_pattern.get(pattern)
            if number is not None:
                return number, pattern
        return None


def parse(data: bytes) -> PolicyFile:
    """Read a policy file. Raises ConfigurationError with a sentence that says where it is wrong."""
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"it is longer than {MAX_BYTES >> 20} MiB")
    try:
        table: dict[str, Any] = tomllib.loads(data.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"it is no TOML: {error}") from None
    try:
        file = msgspec.convert(table, PolicyFile)
    except msgspec.ValidationError as error:
        raise ConfigurationError(_located(str(error))) from None
    if len(file.host) > MAX_HOSTS:
        raise ConfigurationError(f"it has more than {MAX_HOSTS} host entries")
    for number, entry in enumerate(file.host, 1):
        problem = _problem(entry)
        if problem is not None:
            raise ConfigurationError(f"host entry {number}: {problem}")
    return file


def normal(pattern: str) -> str:
    """Return a pattern as sites are written: in lower case, in ASCII, without a final dot."""
    text = pattern.strip().lower().rstrip(".")
    try:
        return text if text.isascii() else text.encode("idna").decode()
    except UnicodeError:
        return text


def filled(recipe: SubmitRecipe, answer: dict[str, str]) -> list[tuple[str, str]] | None:
    """Return a recipe's fields with the answer in them; None where it asks for a part that is not there."""
    wanted = {name for value in recipe.fields.values() for name in _PLACE.findall(value)}
    if not wanted <= answer.keys():
        return None
    return [
        (name, _PLACE.sub(lambda place: answer[place[1]], value)) for name, value in recipe.fields.items()
    ]


def line_to_allow(site: str) -> str:
    """Return the lines that allow solving on a site."""
    return f'[[host]] match = ["{site}"] solve = true'


def _candidates(site: str) -> list[str]:
    host, colon, port = site.rpartition(":")
    if not colon or not port.isdigit():
        host, port = site, ""
    ports = [f":{port}", ""] if port else [""]
    names = [host]
    if not host.startswith("["):
        labels = host.split(".")
        names += ["*." + ".".join(labels[cut:]) for cut in range(1, len(labels))]
    return [name + end for name in (*names, "*") for end in ports]


def _problem(entry: HostEntry) -> str | None:
    for pattern in entry.match:
        if not _PATTERN.fullmatch(normal(pattern)):
            return f"{pattern!r} is no pattern: host, host:port, *.example.com or *"
    if entry.user_agent is not None and not entry.user_agent.isprintable():
        return "its user_agent is not one line of printable characters"
    recipe = entry.submit
    if recipe is not None and not any(_PLACE.search(value) for value in recipe.fields.values()):
        return "its submit recipe has no field with {token} in it"
    return None


def _located(message: str) -> str:
    """Return msgspec's sentence with the place in words: ``$.host[0].rate`` is host entry 1, rate."""
    what, _, path = message.partition(" - at `$")
    match = re.fullmatch(r"\.host\[(\d+)\](.*)`", path)
    if match is not None:
        inner = match[2].lstrip(".") or "itself"
        return f"host entry {int(match[1]) + 1}, {inner}: {what}"
    return f"{path.strip('`.') or 'the file'}: {what}"
