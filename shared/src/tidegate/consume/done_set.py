"""The done set in commit metadata: offsets finished above the committed one, packed into a string. Pure.

Form: ``2:<base>:<base64 of varints>:<note>``; the varints are gap, run, gap, run … upwards from the base.
The base is in it so that a set that belongs to another commit is thrown away (delivery.md C7). The note is
what ``isolation.py`` has to say of the partition, in letters, digits, dots and dashes; most have none.

The broker refuses more than 4,096 bytes. ``worst_length`` says beforehand what a set may come to, so that a
partition is not asked for records whose done set would not fit. A set that does not fit all the same is cut
at its far end: what is cut is only done again, never lost.
"""

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator

# The broker's own limit is 4,096 (offset.metadata.max.bytes); the note and its neighbours need a little.
MAX_METADATA_BYTES = 4_032
# No set of ours has more: a tracker takes no record beyond so many. What claims more is not ours.
MAX_OFFSETS = 65_536
_FORM = "2"
_LONGEST_HEAD = len(f"{_FORM}:{2**63}::")


def pack(base: int, done: Iterable[int], limit: int, note: str = "") -> str:
    """Pack ascending offsets at or above ``base`` and the note into at most ``limit`` characters.

    Returns "" where there is neither.
    """
    head, tail = f"{_FORM}:{base}:", f":{note}"
    room = (limit - len(head) - len(tail)) // 4 * 3
    packed = bytearray()
    position = base
    for first, length in _runs(done):
        step = _varint(first - position) + _varint(length)
        if len(packed) + len(step) > room:
            break
        packed += step
        position = first + length
    if not packed and not note:
        return ""
    return head + urlsafe_b64encode(packed).decode() + tail


def unpack(metadata: str | None, committed: int) -> list[int]:
    """Return the offsets; none where the metadata is not ours, broken, or of another base (C7)."""
    try:
        numbers = list(_varints(b64decode(_parts(metadata, committed)[0], altchars=b"-_", validate=True)))
    except (ValueError, Base64Error):
        return []
    # What anybody may have written must not become a memory bomb.
    if len(numbers) % 2 or sum(numbers[1::2]) > MAX_OFFSETS:
        return []
    offsets: list[int] = []
    position = committed
    for gap, run in zip(numbers[::2], numbers[1::2], strict=True):
        start = position + gap
        position = start + run
        offsets.extend(range(start, position))
    return offsets


def note_of(metadata: str | None, committed: int) -> str:
    """Return the note; "" where there is none, or the metadata is not ours or of another base."""
    return _parts(metadata, committed)[1]


def worst_length(runs: int, distance: int) -> int:
    """Return the most characters that so many runs within ``distance`` offsets take, without a note."""
    packed = 2 * runs
    while distance > 0x7F:
        # Only so many of the numbers, whose sum is the distance, can need another byte.
        distance >>= 7
        packed += min(distance, 2 * runs)
    return _LONGEST_HEAD + (packed + 2) // 3 * 4


def count_runs(offsets: Iterable[int]) -> int:
    """Return how many runs of neighbours ascending offsets have."""
    return sum(1 for _ in _runs(offsets))


def _parts(metadata: str | None, committed: int) -> tuple[str, str]:
    form, _, rest = (metadata or "").partition(":")
    base, _, rest = rest.partition(":")
    data, _, note = rest.partition(":")
    if form != _FORM or not base.isdecimal() or len(base) > len(str(2**63)) or int(base) != committed:
        return "", ""
    return data, note


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
