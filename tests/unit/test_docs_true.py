"""The documents speak of what is there: links, paths, commands, settings, topics, rules."""

import importlib.util
import re
import shlex
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.packaging import ROOT, SERVICES, read, settings_of
from tidegate.records import Route
from tidegate.settings import Settings
from tidegate.topics import Topic, declare

PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_BLOCK = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
_RULE = re.compile(r"\b(?:C(?:1[01]|[1-9])|O[1-7]|T[1-3]|M[1-9]|S[12])\b")
_CITED = re.compile(r"\(((?:[COTMS]\d+(?:, )?)+)\)|delivery\.md ((?:[COTMS]\d+(?:, )?)+)")
_PATH = re.compile(r"(?:services|shared|cli|tests|docs|requirements|tools|\.ci|\.github)/[\w./-]*\w/?")


def commands_in(text: str) -> list[str]:
    """Return the lines of shell blocks, comments cut, and pieces of inline code."""
    lines = [
        line.split("  #")[0].strip()
        for block in _BLOCK.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [line for line in [*lines, *_CODE.findall(_BLOCK.sub("", text))] if line]


@cache
def command_line() -> Any:
    """Return the command line as click sees it."""
    import typer  # noqa: PLC0415 -- dear, and only two tests need it
    from tidegate_cli.main import app  # noqa: PLC0415

    return typer.main.get_command(app)


@cache
def configuration_docs() -> ModuleType:
    """Return the module that writes the configuration page; it is a script, not part of a package."""
    spec = importlib.util.spec_from_file_location("configuration_docs", ROOT / "tools/configuration_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """A link to a file of the repository names one that exists, a fragment a heading of it."""
    for target in _LINK.findall(read(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, fragment = target.partition("#")
        linked = (ROOT / page).parent / path if path else ROOT / page
        assert linked.exists(), f"{page}: {target}"
        if fragment:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert fragment in slugs, f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_the_text_exist(page: str) -> None:
    """A path in code type is one of the repository."""
    for code in _CODE.findall(_BLOCK.sub("", read(page))):
        if _PATH.fullmatch(code):
            assert (ROOT / code).exists(), f"{page}: {code}"


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    """A reader who types what stands there gets no error from make."""
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for command in commands_in(read(page)):
        if re.match(r"make [a-z]", command):
            assert command.split()[1] in targets, f"{page}: {command}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    """Every `tidegate …` in the documents is a command that exists, with options that it has."""
    for text in commands_in(read(page)):
        prefixed = re.sub(r"^.*docker compose run --rm (-T )?cli ", "tidegate ", text)
        if not re.match(r"tidegate [a-z]", prefixed):
            continue
        words = shlex.split(prefixed)[1:]
        node = command_line()
        while words and words[0] in getattr(node, "commands", {}):
            node = node.commands[words.pop(0)]
        assert not getattr(node, "commands", {}), f"{page}: {text}"
        known = {
            option for parameter in node.params for option in [*parameter.opts, *parameter.secondary_opts]
        }
        used = {word.split("=")[0] for word in words if word.startswith("-") and word != "-"}
        assert used <= known | {"--help", "-h"}, f"{page}: {text}"


def test_the_configuration_page_is_the_one_that_the_settings_give() -> None:
    """A change of a setting without `python tools/configuration_docs.py` turns red."""
    assert read("docs/configuration.md") == configuration_docs().render()


def test_the_configuration_page_names_the_choices_where_few_values_are_admitted() -> None:
    """Of a list of literals as of an enumeration."""
    page = read("docs/configuration.md")
    for variable, choices in (
        ("KAFKA__SASL_MECHANISM", "`SCRAM-SHA-512`, `SCRAM-SHA-256`, `PLAIN`"),
        ("FETCHER__ROBOTS", "`obey`, `ignore`"),
        ("SOLVER__ROUTE", ", ".join(f"`{each}`" for each in Route)),
    ):
        assert re.search(rf"^\| `TIDEGATE_{variable}` \| \S+ \| {choices} \|", page, re.MULTILINE), variable


@pytest.mark.parametrize("kind", [Settings, *(settings_of(service) for service in SERVICES)])
def test_every_setting_is_explained(kind: type[Settings]) -> None:
    """Meaning is not optional."""
    for section in kind.model_fields.values():
        fields: dict[str, Any] = getattr(section.annotation, "model_fields")  # noqa: B009 -- typed as a plain type
        for name, field in fields.items():
            assert field.description, name


@pytest.mark.parametrize("page", [*PAGES, "docker-compose.yml", "compose.demo.env", "Makefile"])
def test_variables_in_the_text_are_settings(page: str) -> None:
    """A variable that a document names is read by somebody."""
    known = set(re.findall(r"`(TIDEGATE_\w+)`", configuration_docs().render()))
    for variable in re.findall(r"\bTIDEGATE_[A-Z_]+[A-Z]\b", read(page)):
        assert variable in known or variable.removesuffix("_FILE") in known, f"{page}: {variable}"


def test_the_table_of_topics_is_the_declaration() -> None:
    """Every topic is described, with the size that it is made with."""
    section = read("docs/architecture.md").split("## Topics")[1].split("## ")[0]
    rows = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    described: dict[str, str] = {}
    for row in rows:
        cells = [cell.strip() for cell in row.split(" | ")]
        names = _CODE.findall(cells[0])
        stem = names[0].rsplit("-", 1)[0]
        for name in names:
            described[stem + name if name.startswith("-") else name] = cells[-1]
    assert set(described) == {topic.value for topic in Topic}
    for spec in declare():
        assert described[spec.topic] == f"{spec.max_message_bytes >> 20} MiB"


def test_the_views_of_the_document_are_those_of_the_schema() -> None:
    """A view that is described exists, and one that exists is described."""
    folder = ROOT / "services/storer/src/tidegate_storer/migrations"
    schema = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.sql"))
    views = set(re.findall(r"^CREATE VIEW IF NOT EXISTS (\w+)", schema, re.MULTILINE))
    section = read("docs/architecture.md").split("## Tables")[1].split("## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == views


def test_every_rule_that_code_cites_exists() -> None:
    """A rule's id in code, in parentheses or after the document's name, is one of docs/delivery.md."""
    rules = set(re.findall(r"^\| ([COTMS]\d+) \|", read("docs/delivery.md"), re.MULTILINE))
    assert all(_RULE.fullmatch(rule) for rule in rules)
    for folder in ("shared", "services", "cli", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for pair in _CITED.findall(path.read_text(encoding="utf-8")):
                cited = {rule for group in pair for rule in group.split(", ") if rule}
                assert cited <= rules, f"{path.relative_to(ROOT)}: {cited - rules}"


def test_every_decision_is_in_the_index() -> None:
    """Numbered without a gap, each with its own title."""
    records = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [name[:4] for name in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    index = read("docs/adr/README.md")
    for name in records:
        title = Path(ROOT / "docs/adr" / name).read_text(encoding="utf-8").splitlines()[0]
        assert f"| [{name[:4]}]({name}) | {title.removeprefix(f'# {name[:4]} ')} |" in index


def test_the_reading_path_is_three_short_stops() -> None:
    """Nouns, state, loop: what the README sends a newcomer to exists."""
    section = read("README.md").split("## Reading the code")[1].split("## ")[0]
    assert [stop[0] for stop in re.findall(r"^(\d)\. ", section, re.MULTILINE)] == ["1", "2", "3"]
    assert len(_LINK.findall(section)) >= 4
