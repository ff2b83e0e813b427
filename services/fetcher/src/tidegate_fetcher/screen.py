"""Which rows of the table a page may concern, from its bytes alone. Pure.

Hyperscan looks for every string at once, in any case, in one pass: about 20 us for 29 KB, however many
strings there are. One ``in`` test for one string costs as much, a regular expression of Python's ten times.
"""

from collections.abc import Sequence

import hyperscan


class Screen:
    """Strings by the number of the row that they belong to."""

    def __init__(self, rows: Sequence[tuple[str, ...]]) -> None:
        needles = sorted({(needle.lower(), number) for number, row in enumerate(rows) for needle in row})
        texts = [_literal(text) for text, _ in needles]
        self._database = hyperscan.Database()
        flags = hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_SINGLEMATCH
        self._database.compile(
            expressions=texts,
            ids=[number for _, number in needles],
            elements=len(texts),
            flags=[flags] * len(texts),
        )

    def rows(self, body: bytes) -> set[int]:
        """Return the numbers of the rows of which the page holds a string."""
        hit: set[int] = set()

        def collect(row: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            hit.add(row)

        self._database.scan(body, match_event_handler=collect)
        return hit


def _literal(text: str) -> bytes:
    """Return a string as an expression: every byte that is not a letter or a digit in hexadecimal."""
    return b"".join(
        bytes((byte,)) if chr(byte).isalnum() and byte < 128 else b"\\x%02x" % byte for byte in text.encode()
    )
