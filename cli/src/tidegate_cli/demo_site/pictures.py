"""Pictures of text, one for each challenge: a PNG that says in a comment what it would show. Pure.

The simulated solving service reads the comment. The text cannot be told from the page, only from its picture.
"""

import hashlib
import hmac
import struct
import zlib

_ALPHABET = "ACDEFHJKLMNPQRTUVWXY3479"
_LENGTH = 6


class Pictures:
    """The pictures of one site. ``secret`` is its own: two runs show different texts."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def text(self, nonce: str) -> str:
        """Return what the picture of a nonce shows."""
        digest = hashlib.blake2b(nonce.encode(), key=self._secret, digest_size=_LENGTH).digest()
        return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest)

    def is_text(self, nonce: str, answer: str) -> bool:
        """Say whether an answer is what the picture shows, in whatever case."""
        return hmac.compare_digest(self.text(nonce).encode(), answer.strip().upper().encode())

    def png(self, nonce: str) -> bytes:
        """Return the picture of a nonce."""
        comment = b"Comment\0tidegate-text:" + self.text(nonce).encode() + b";"
        head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
        chunks = ((b"IHDR", head), (b"tEXt", comment), (b"IDAT", zlib.compress(b"\0\xff")), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
