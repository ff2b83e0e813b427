"""The published contracts: one JSON Schema for each record, generated from its class.

``python -m tidegate.schemas docs/schemas`` writes them; a test holds the written ones against the classes.
A schema's ``$id`` is ``tidegate:<name>:<version>`` and names no host. Objects are open: a reader ignores
fields that it does not know, so that version N reads version N-1 and a bystander may read ahead. Only the
policy file, which people write, is closed.
"""

import inspect
import sys
from pathlib import Path
from typing import Any

import msgspec

from tidegate.captcha_records import (
    CaptchaRequest,
    CaptchaSolution,
    SolutionVerdict,
    SolveRecord,
    TaskRecord,
)
from tidegate.host_policy import PolicyFile
from tidegate.records import VERSION, DeadMeta, JobState, PageMeta, UrlJob
from tidegate.runs import RunRecord
from tidegate.session_records import SessionRecord

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Name of the file and of the ``$id``, in alphabetical order.
PUBLISHED: dict[str, type[msgspec.Struct]] = {
    "captcha-request": CaptchaRequest,
    "captcha-solution": CaptchaSolution,
    "dead-meta": DeadMeta,
    "job-state": JobState,
    "page-meta": PageMeta,
    "policy": PolicyFile,
    "run-record": RunRecord,
    "session-record": SessionRecord,
    "solution-verdict": SolutionVerdict,
    "solve-record": SolveRecord,
    "task-record": TaskRecord,
    "url-job": UrlJob,
}


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a published record. Raises KeyError for a name that is not published."""
    return {
        "$schema": DIALECT,
        "$id": f"tidegate:{name}:{VERSION}",
        **_dedented(msgspec.json.schema(_described(PUBLISHED[name]))),
    }


def _dedented(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with the indentation and the backticks of the docstrings taken out."""
    for definition in schema.get("$defs", {}).values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"]).replace("``", "`")
    return schema


def _described(record: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the class with ``Raw`` fields as any JSON: msgspec cannot write a raw default to a schema."""
    fields = msgspec.structs.fields(record)
    if all(field.type is not msgspec.Raw for field in fields):
        return record
    return msgspec.defstruct(
        record.__name__,
        [_field(field) for field in fields],
        namespace={"__doc__": record.__doc__},
        module=record.__module__,
        kw_only=True,
    )


def _field(field: msgspec.structs.FieldInfo) -> tuple[str, Any] | tuple[str, Any, Any]:
    if field.type is msgspec.Raw:
        return (field.name, Any, None)
    if field.default is not msgspec.NODEFAULT:
        return (field.name, field.type, field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return (field.name, field.type, msgspec.field(default_factory=field.default_factory))
    return (field.name, field.type)


def rendered(name: str) -> str:
    """Return the text of a schema's file: fields in the order of the class, a final newline."""
    return msgspec.json.format(msgspec.json.encode(schema_of(name)), indent=2).decode() + "\n"


def write(folder: Path) -> None:
    """Write every schema to ``folder`` as ``<name>.json``; the folder is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PUBLISHED:
        (folder / f"{name}.json").write_text(rendered(name), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas"))
