"""What a site or a producer wrote, made harmless for a terminal. Pure."""


def printable(text: str, limit: int | None = None) -> str:
    """Return a text on one line, cut at ``limit`` characters, what is not printable as escapes.

    Among it are control characters, which move the cursor, and those that turn the direction of writing.
    """
    cut = text if limit is None else text[:limit]
    shown = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in cut)
    return shown if len(cut) == len(text) else f"{shown}…"
