"""The done set in commit metadata: offsets finished above the committed one, packed into a string. Pure.

Form: ``1:<base>:<base64 of varints>``; the varints are gap, run, gap, run … upwards from the base. The
base is in it so that a set that belongs to another commit is thrown away (delivery.md C7). A set that
does not fit is cut at its far end: what is cut is only done again, never lost.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator

# The broker refuses more than 4,096 bytes; peers stop well before.
MAX_METADATA_BYTES = 3_584
_FORM = "1"


def pack(base: int, done: Iterable[int], limit: int) -> str:
    """Pack ascending offsets at or above ``base`` into at most ``limit`` characters; "" when empty."""
    head = f"{_FORM}:{base}:"
    room = (limit - len(head)) // 4 * 3
    packed = bytearray()
    position = base
    for first, length in _runs(done):
        step = _varint(first - position) + _varint(length)
        if len(packed) + len(step) > room:
            break
        packed += step
        position = first + length
    if not packed:
        return ""
    return head + urlsafe_b64encode(packed).decode()


def unpack(metadata: str | None, committed: int) -> list[int]:
    """Return the offsets; none where the metadata is not ours, broken, or of another base (C7)."""
    form, _, rest = (metadata or "").partition(":")
    base, _, data = rest.partition(":")
    if form != _FORM or not base.isdecimal() or int(base) != committed:
        return []
    try:
        numbers = list(_varints(urlsafe_b64decode(data)))
    except (ValueError, Base64Error):
        return []
    offsets: list[int] = []
    position = committed
    for gap, run in zip(numbers[::2], numbers[1::2], strict=False):
        start = position + gap
        # A broken run must not become a memory bomb; no real one is longer than what a set may hold.
        if run > 10_000_000:
            return []
        offsets.extend(range(start, start + run))
        position = start + run
    return offsets


def _runs(offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = length = 0
    for offset in offsets:
        if length and offset == first + length:
            length += 1
            continue
        if length:
            yield first, length
        first, length = offset, 1
    if length:
        yield first, length


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _varints(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("a number is cut off")
