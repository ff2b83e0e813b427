"""A process that renders modules of the standard library with pydoc, one after another.

Run as a file, with a clean environment: pydoc shows values, and those of the environment are nobody's
business. Names come in on standard input, one a line; each is answered by its length in bytes, a newline,
and the page. The process ends with its input. It imports nothing of Tidegate's.
"""

import html
import importlib
import inspect
import os
import pydoc
import re
import sys
import sysconfig
import warnings
from functools import lru_cache

_ADDRESS = re.compile(r"(?: |&nbsp;)(?:at(?: |&nbsp;)0x|handle(?: |&nbsp;))[0-9a-fA-F]{6,}")
_UNAVAILABLE = (
    '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
    "<title>Python: module {name}</title></head>\n<body><h1>{name}</h1>"
    "<p>This module is not part of the Python that serves this site.</p></body>\n</html>\n"
)


class _Html(pydoc.HTMLDoc):
    """pydoc's own, with its slowest helper remembered: it is asked for the same words again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.preformat = lru_cache(maxsize=65_536)(super().preformat)  # type: ignore[method-assign]


def _places() -> list[tuple[str, str]]:
    """Return the folders of this machine and what to show in their place, longest first."""
    paths = sysconfig.get_paths()
    known = {
        paths["stdlib"]: "/usr/lib/python3",
        paths["platstdlib"]: "/usr/lib/python3",
        sys.prefix: "/usr",
        sys.base_prefix: "/usr",
        sys.exec_prefix: "/usr",
    }
    return sorted(known.items(), key=lambda place: -len(place[0]))


class Renderer:
    """Renders modules by name; the same module twice gives the same page."""

    def __init__(self) -> None:
        self._html = _Html()
        self._places = _places()

    def render(self, name: str) -> str:
        """Return the page of a module; a module that this Python lacks gets a page that says so."""
        try:
            module = importlib.import_module(name)
            page = self._html.page(pydoc.describe(module), self._html.document(module, name))
        except Exception:  # noqa: BLE001 -- whatever a module does when it is imported, there is a page
            return _UNAVAILABLE.format(name=html.escape(name))
        page = _ADDRESS.sub("", page)
        for folder, shown in self._places:
            page = page.replace(folder, shown)
        return page


def main() -> None:
    """Answer names until the input ends."""
    os.nice(5)  # whoever waits for a page matters less than whoever works with it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an imported module prints must not get between the answers
    warnings.simplefilter("ignore")
    # Looking up comments in front of undocumented functions parses whole files: most of the time spent.
    inspect.getcomments = lambda _object: None  # type: ignore[assignment]
    renderer = Renderer()
    for line in sys.stdin:
        page = renderer.render(line.strip()).encode("utf-8", "replace")
        answers.write(b"%d\n" % len(page) + page)
        answers.flush()


if __name__ == "__main__":
    main()
