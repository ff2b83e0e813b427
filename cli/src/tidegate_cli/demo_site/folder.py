"""Pages of the operator's own: every HTML file below a folder, served in place of the rendered modules."""

from pathlib import Path

from tidegate.errors import ConfigurationError


class Folder:
    """The files by name: the path below the folder, without ``.html``. Read when they are asked for."""

    def __init__(self, root: Path) -> None:
        """Raises ConfigurationError where there is no such folder, or no HTML file in it."""
        self._root = root.resolve()
        found = sorted(self._root.rglob("*.html"), key=lambda path: path.relative_to(self._root).as_posix())
        self.names = tuple(
            path.relative_to(self._root).as_posix().removesuffix(".html") for path in found if path.is_file()
        )
        if not self.names:
            raise ConfigurationError(f"There is no HTML file below {root}.")

    def ready(self, name: str) -> bytes | None:
        """Return a file's bytes."""
        return (self._root / f"{name}.html").read_bytes()

    async def body(self, name: str) -> bytes:
        """Return a file's bytes. Raises OSError where it has gone."""
        return (self._root / f"{name}.html").read_bytes()

    async def close(self) -> None:
        """Nothing is held."""
