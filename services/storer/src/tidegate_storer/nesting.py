"""Keeps a page's elements from nesting deeper than browsers let them. Pure.

The tree builder looks through all open elements at each block that begins, so that 60,000 nested ``div``
(300 KB) cost half a minute of a parser's time, and the page its outcome. Browsers stop at a depth of 512 and
put what comes deeper side by side. So do we: tags of blocks that would begin deeper are left out, their
content stays.
"""

import re

MAX_DEPTH = 512
# Below so many tags no depth is worth a look.
_FEW_TAGS = 4_000
# Blocks whose end may not be left out; nothing else was seen to cost more than its length.
_BLOCK = re.compile(
    rb"<(/?)(?:div|section|article|aside|nav|main|header|footer|ul|ol|dl|menu|dir|blockquote|center|fieldset"
    rb"|details|summary|dialog|figure|figcaption|address|form|pre|listing|hgroup|search)(?=[\s/>])[^>]*+>?+",
    re.IGNORECASE,
)


def flattened(markup: bytes) -> bytes:
    """Return the markup with no block deeper than 512 blocks; the same where none is."""
    if markup.count(b"<") <= _FEW_TAGS:
        return markup
    kept: list[bytes] = []
    depth = left_out = end = 0
    for tag in _BLOCK.finditer(markup):
        if tag[1]:
            if left_out:
                left_out -= 1
            else:
                depth = max(depth - 1, 0)
                continue
        elif depth < MAX_DEPTH:
            depth += 1
            continue
        else:
            left_out += 1
        kept.append(markup[end : tag.start()])
        end = tag.end()
    return b"".join([*kept, markup[end:]]) if kept else markup
