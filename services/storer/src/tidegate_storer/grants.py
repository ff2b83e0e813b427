"""Who may do what in ClickHouse: roles with the least rights, as SQL for an administrator. Pure.

Three of them: who deploys makes and alters tables, the storer writes, a reader reads the views. Nothing is
run here: whoever creates users has rights that no part of Tidegate should have.
"""

import re

from tidegate_storer.schema import TABLE, migrations

_TABLE = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+)", re.MULTILINE)
_VIEW = re.compile(r"^CREATE (?:OR REPLACE )?VIEW (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)

ROLES = ("deployer", "storer", "reader")


def tables() -> tuple[str, ...]:
    """Return the tables of the schema, in the order of the migrations, its own journal last."""
    return (*_named(_TABLE), TABLE)


def views() -> tuple[str, ...]:
    """Return the views, which are what is public of the schema."""
    return _named(_VIEW)


def _named(pattern: re.Pattern[str]) -> tuple[str, ...]:
    found = (name for migration in migrations() for name in pattern.findall(migration.text))
    return tuple(dict.fromkeys(found))


def grants(database: str, *, prefix: str = "tidegate_", cluster: str | None = None) -> list[str]:
    """Return the statements that make the roles, without semicolons; safe to run twice.

    A view is read with the rights of whoever reads, so a reader may read the tables below it, too.
    """
    on = f" ON CLUSTER '{cluster}'" if cluster else ""
    deployer, storer, reader = (f"`{prefix}{role}`" for role in ROLES)
    everything = f"`{database}`.*"
    made = [f"CREATE ROLE IF NOT EXISTS {role}{on}" for role in (deployer, storer, reader)]
    makes = "CREATE DATABASE, CREATE TABLE, CREATE VIEW, ALTER TABLE, ALTER VIEW, DROP VIEW, SELECT, INSERT"
    return [
        *made,
        f"GRANT{on} {makes} ON {everything} TO {deployer}",
        # Definitions are looked up before they are altered.
        f"GRANT{on} SHOW TABLES, SHOW COLUMNS ON {everything} TO {deployer}",
        *(f"GRANT{on} INSERT ON `{database}`.`{name}` TO {storer}" for name in tables() if name != TABLE),
        # It asks for the schema's version, and reads nothing else; the body of a page to be parsed again
        # travels in the page's record.
        f"GRANT{on} SELECT ON `{database}`.`{TABLE}` TO {storer}",
        f"GRANT{on} SELECT ON {everything} TO {reader}",
        *([f"GRANT{on} CLUSTER ON *.* TO {deployer}"] if cluster else []),
    ]


def example_users(prefix: str = "tidegate_", cluster: str | None = None) -> list[str]:
    """Return how users get the roles; passwords are the administrator's."""
    on = f" ON CLUSTER '{cluster}'" if cluster else ""
    return [
        f"CREATE USER IF NOT EXISTS `{prefix}{role}`{on} IDENTIFIED BY '<password>' "
        f"DEFAULT ROLE `{prefix}{role}`"
        for role in ROLES
    ]


def script(database: str, cluster: str | None) -> str:
    """Return all of it as a script for an administrator, the users as comments."""
    lines = [f"{statement};" for statement in grants(database, cluster=cluster)]
    lines += [f"-- {statement};" for statement in example_users(cluster=cluster)]
    return "\n".join(lines)
