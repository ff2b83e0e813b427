"""What ClickHouse's public views say of a run: the counts while it runs, the ids at its end."""

# ruff: noqa: S608 -- only names of our own tables are put into the text; values are parameters

from collections.abc import AsyncIterator

from tidegate_cli.crawl.progress import Counts
from tidegate_cli.warehouse import Warehouse, quoted


class Outcomes:
    """The outcomes of one run."""

    def __init__(self, warehouse: Warehouse, run: str) -> None:
        self._warehouse = warehouse
        self._run = {"run": run}
        database = quoted(warehouse.database)
        self._pages = f"{database}.pages"
        self._dead = f"{database}.dead_letters"
        self._solves = f"{database}.solves"

    async def counts(self) -> Counts:
        """Count pages, dead letters and solves; one query each, in one round trip."""
        rows = await self._warehouse.rows(
            f"SELECT (SELECT count() FROM {self._pages} WHERE run = {{run:String}}),"
            f" (SELECT count() FROM {self._dead} WHERE run = {{run:String}}),"
            f" (SELECT (count(), countIf(status = 'solved'), sum(cost)) FROM {self._solves}"
            f" WHERE run = {{run:String}})",
            self._run,
        )
        pages, dead_letters, (captchas, solved, cost) = rows[0]
        return Counts(
            pages=pages, dead_letters=dead_letters, captchas=captchas, solved=solved, cost=float(cost)
        )

    async def duplicates(self) -> int:
        """Return how many rows the public views have beyond one an id."""
        rows = await self._warehouse.rows(
            f"SELECT count() - uniqExact(id) FROM (SELECT id FROM {self._pages} WHERE run = {{run:String}}"
            f" UNION ALL SELECT id FROM {self._dead} WHERE run = {{run:String}})",
            self._run,
        )
        return int(rows[0][0])

    async def ids(self) -> AsyncIterator[list[str]]:
        """Yield the ids of all outcomes, a block at a time."""
        for view in (self._pages, self._dead):
            async for block in self._warehouse.blocks(
                f"SELECT id FROM {view} WHERE run = {{run:String}}", self._run
            ):
                yield [str(row[0]) for row in block]

    async def reasons(self) -> dict[str, int]:
        """Count the dead letters by reason, the most frequent first."""
        return await self._by(
            f"SELECT toString(reason) AS name, count() FROM {self._dead} WHERE run = {{run:String}}"
        )

    async def solved_kinds(self) -> dict[str, int]:
        """Count the solved challenges by kind."""
        return await self._by(
            f"SELECT toString(kind) AS name, count() FROM {self._solves}"
            " WHERE run = {run:String} AND status = 'solved'"
        )

    async def challenges(self) -> int:
        """Return how many challenges the pages say they met: what ``solves`` must catch up with."""
        rows = await self._warehouse.rows(
            f"SELECT sum(challenges) FROM {self._pages} WHERE run = {{run:String}}", self._run
        )
        return int(rows[0][0] or 0)

    async def _by(self, query: str) -> dict[str, int]:
        rows = await self._warehouse.rows(f"{query} GROUP BY name ORDER BY count() DESC, name", self._run)
        return {str(name): int(count) for name, count in rows}
