"""The reader of Dockerfiles and .dockerignore that the other tests rest on."""

from pathlib import PurePosixPath

import pytest
from support.dockerfile import Ignore, parse, substitute

TEXT = """\
# a comment
ARG BASE=python:3
FROM ${BASE} AS builder
ENV A=1 \\
    B="two words"

RUN --mount=type=cache,target=/x \\
    # a comment inside a continued line
    make all && \\
    make check
FROM ${BASE}
COPY --from=builder /a /b
ENTRYPOINT ["python", "-m", "thing"]
"""


def test_stages_flags_and_continued_lines_are_read() -> None:
    """What a builder sees is what the tests see."""
    file = parse(TEXT)
    assert file.arguments == {"BASE": "python:3"}
    assert [(stage.base, stage.name) for stage in file.stages] == [("${BASE}", "builder"), ("${BASE}", "1")]
    builder, final = file.stages
    assert builder.environment() == {"A": "1", "B": "two words"}
    run = builder.one("RUN")
    assert run.flags == {"mount": "type=cache,target=/x"}
    assert run.rest.split() == ["make", "all", "&&", "make", "check"]
    assert final.one("COPY").flags == {"from": "builder"}
    assert final.one("ENTRYPOINT").exec_form() == ["python", "-m", "thing"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a\nADD b c\n", "line 2: ADD"),
        ("RUN x\nFROM a\n", "line 1: RUN before the first FROM"),
        ("FROM a\nRUN x \\\n", "continued by nothing"),
        ("# nothing\n", "no FROM"),
    ],
)
def test_what_we_do_not_use_is_refused(text: str, message: str) -> None:
    """A reader that guesses would let a mistake through."""
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_a_shell_form_is_no_exec_form() -> None:
    """A shell between the engine and the process would swallow SIGTERM."""
    with pytest.raises(ValueError, match="Expecting value"):
        parse("FROM a\nENTRYPOINT python -m thing\n").final.one("ENTRYPOINT").exec_form()


def test_a_variable_that_nothing_sets_is_an_error() -> None:
    """An engine would put an empty string there."""
    assert substitute("${A}/$B", {"A": "x", "B": "y"}) == "x/y"
    with pytest.raises(KeyError):
        substitute("${C}", {})


@pytest.mark.parametrize(
    ("path", "excluded"),
    [
        ("README.md", True),
        ("requirements/a.txt", False),
        ("requirements/deep/a.txt", True),
        ("services/one/src/pkg/mod.py", False),
        ("services/one/tests/test.py", True),
        ("services/one/src/pkg/__pycache__/mod.pyc", True),
        (".env", True),
    ],
)
def test_the_last_matching_pattern_decides(path: str, excluded: bool) -> None:
    """As engines read it: `!` takes back in, a folder's rule holds for what is below it."""
    ignore = Ignore("# all\n**\n!requirements/*.txt\n!services/*/src\n\n**/__pycache__\n")
    assert ignore.excludes(PurePosixPath(path)) is excluded
