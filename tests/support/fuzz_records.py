"""Malformed records by a seed: valid ones of every topic, broken in bytes, JSON and headers.

The same seed and number always give the same record.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from aiokafka import ConsumerRecord
from support.fuzz_seeds import NOW_MS, SEEDS, Headers
from tidegate.consume.kafka_record import inbound
from tidegate.records import Inbound

# Long enough ago for every delay class to have ended.
_LONG_AGO_MS = NOW_MS - 90 * 86_400_000
_EVERY_SEED = [seed for seeds in SEEDS.values() for seed in seeds]

_TEXTS = (
    "",
    "\x00",
    "\ud800",
    "\u202e\U0001f600",
    "null",
    "../../etc/passwd",
    "http://[::1",
    "https://xn--/",
    "https://\u2100.example/",
    "https://a.example:99999999999999999999/",
    "https://a.example:0/",
    "//",
    "http://%00/",
    "http://user:p/w@host/",
    "data:text/html,x",
    "https://" + "a" * 300 + ".example/",
    "https://é.example/ü?ß",
    "x" * 1_000,
)
_NUMBERS: tuple[Any, ...] = (
    0,
    -1,
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    1e308,
    float("inf"),
    float("nan"),
    5e-324,
    0.1,
    True,
)
_TOKENS = (
    b"null", b"{}", b"[]", b'""', b"-", b"1e999", b'"\\ud800"', b"\xff\xfe", b"\x00", b"\xed\xa0\x80", b"NaN",
    b"\xef\xbb\xbf", b"}", b'"', b"\\u0000", b"9" * 40,
)  # fmt: skip
# Dear to look through, so they are rarer.
_LONG_TOKENS = (b"1" * 5000, b"{" * 300, b"[" * 3000, b'{"a":' * 1500, b" " * 3000)
_NAMES = (
    "",
    "Tidegate-Job",
    "tidegate-job ",
    "\x00",
    "x" * 5000,
    "é\u202e",
    "tidegate-page",
    "tidegate-dead",
    "tidegate-original",
    "traceparent",
    "tidegate-replay-of",
    "kafka_dlt-original-offset",
)


def record(topic: str, partition: int, offset: int, rng: Random) -> Inbound:
    """Return a record as a consumer hands it out, malformed in one to four ways."""
    value, headers = rng.choice(SEEDS.get(topic, _EVERY_SEED))
    headers = list(headers)
    whole: bytes | None = value
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        if headers and rng.random() < 0.5:
            headers = _broken_headers(headers, rng)
        else:
            whole = _broken(whole or b"", rng)
    if rng.random() < 0.01:
        whole = None
    return inbound(
        topic,
        ConsumerRecord(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=rng.choice((_LONG_AGO_MS, _LONG_AGO_MS, _LONG_AGO_MS, 0, -1)),
            timestamp_type=1,
            key=rng.choice((None, b"", b"shop.example", b"\xff\xfe")),
            value=whole,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            headers=tuple(headers),  # type: ignore[arg-type]
        ),
    )


def commit_metadata(rng: Random) -> str:
    """Return what another tool, or an enemy, may have left beside a commit of offset 100."""
    data = rng.choice(
        (
            "1:100:AQI=",
            "1:100:" + "_____3__" * rng.randrange(1, 600),
            "1:100:" + "f39_f39_" * rng.randrange(1, 600),
            "1:" + "9" * 4000 + ":AQI=",
            "1:\u0661\u0660\u0660:AQI=",
            "1::",
            "2:100:AQI=",
            "",
        )
    )
    text = _broken(data.encode(), rng).decode(errors="replace") if rng.random() < 0.7 else data
    return text[:4096]


def _broken(data: bytes, rng: Random) -> bytes:
    kind = rng.random()
    if kind < 0.45 and data[:1] in b"{[":
        return _broken_json(data, rng)
    breaking: Callable[[bytes, Random], bytes] = rng.choice(_BREAKINGS)
    return breaking(data, rng)


def _flip(data: bytes, rng: Random) -> bytes:
    broken = bytearray(data or b"\x00")
    for _ in range(rng.choice((1, 1, 2, 8))):
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    return bytes(broken)


def _cut(data: bytes, rng: Random) -> bytes:
    first, last = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return rng.choice((data[:first], data[last:], data[:first] + data[last:], data[first:last]))


def _insert(data: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    kind = rng.random()
    if kind < 0.05:
        piece = rng.choice(_LONG_TOKENS)
    else:
        piece = rng.choice(_TOKENS) if kind < 0.8 else rng.randbytes(rng.randrange(1, 64))
    over = rng.choice((0, 0, len(piece)))
    return data[:place] + piece + data[place + over :]


def _splice(data: bytes, rng: Random) -> bytes:
    value, headers = rng.choice(_EVERY_SEED)
    other = rng.choice((value, *(part or b"" for _, part in headers)))
    place, start = rng.randrange(len(data) + 1), rng.randrange(len(other) + 1)
    return data[:place] + other[start:]


def _repeat(data: bytes, rng: Random) -> bytes:
    first, last = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:last] + data[first:last] * rng.choice((1, 3, 20)) + data[last:]


def _nest(data: bytes, rng: Random) -> bytes:
    depth = rng.choice((3, 3, 30, 30, 300, 1500, 5000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"url":', b"}"), (b"{", b"}")))
    return opening * depth + data + (closing * depth if rng.random() < 0.7 else b"")


def _random_bytes(data: bytes, rng: Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 7, 100)))


_BREAKINGS = (_flip, _flip, _cut, _cut, _insert, _insert, _splice, _repeat, _nest, _random_bytes)


def _broken_json(data: bytes, rng: Random) -> bytes:
    """Break a JSON document by its structure: it stays JSON, or nearly."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return _flip(data, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        tree = _changed(tree, rng)
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _changed(node: Any, rng: Random) -> Any:  # noqa: PLR0911 -- one for each kind of change
    if isinstance(node, dict) and node and rng.random() < 0.85:
        name = rng.choice(list(node))
        step = rng.random()
        if step < 0.15:
            return {key: value for key, value in node.items() if key != name}
        if step < 0.25:
            return {**node, rng.choice((*_NAMES, "version", "url", "id")): _odd(rng)}
        return {**node, name: _changed(node[name], rng)}
    if isinstance(node, list) and node and rng.random() < 0.7:
        place = rng.randrange(len(node))
        return [*node[:place], _changed(node[place], rng), *node[place + 1 :]]
    # Half of them keep their type, or little would be read of what is broken.
    if isinstance(node, str) and rng.random() < 0.5:
        return rng.choice(_TEXTS)
    if isinstance(node, int | float) and rng.random() < 0.5:
        return rng.choice(_NUMBERS)
    return _odd(rng)


_WIDE = {str(number): number for number in range(200)}


def _odd(rng: Random) -> Any:
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(_NUMBERS)
    if kind < 0.7:
        return rng.choice(_TEXTS)
    return rng.choice(
        (None, [], {}, [[]], [None] * 50, {"": {}}, {"a": [{"b": None}]}, {str(n): n for n in range(200)})
    )


def _broken_headers(headers: Headers, rng: Random) -> Headers:
    place = rng.randrange(len(headers))
    name, value = headers[place]
    other = rng.choice(headers)
    changed: Headers
    match rng.randrange(9):
        case 0:
            changed = []
        case 1:
            changed = [(name, None)]
        case 2:
            changed = [(name, value), (name, _broken(value or b"", rng))]
        case 3:
            changed = [(rng.choice(_NAMES), value)]
        case 4:
            changed = [(name, other[1])]
        case 5:
            changed = [(name, value), (rng.choice(_NAMES), rng.randbytes(rng.choice((0, 9, 5_000))))]
        case _:
            changed = [(name, _broken(value or b"", rng))]
    return [*headers[:place], *changed, *headers[place + 1 :]]
