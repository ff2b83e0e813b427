"""The console script as a process."""

import subprocess
import sys


def test_the_entry_point_imports_nothing_heavy() -> None:
    """``tidegate --help`` answers at once, and no engine is ever loaded into this process."""
    heavy = ("chdb", "aiokafka", "clickhouse_connect", "pydantic", "aiohttp", "msgspec", "rich", "asyncio")
    script = f"import sys, tidegate_cli.main; print([m for m in {heavy!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
