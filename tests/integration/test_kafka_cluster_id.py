"""What the node's own tools take as a cluster id."""

from pathlib import Path

import pytest
from support.kafka import ignore
from tidegate_cli.stack.broker_kafka import LocalKafka

pytestmark = pytest.mark.kafka


async def test_an_id_that_begins_with_a_dash_is_no_option(tmp_path: Path) -> None:
    """One random id in 64 begins with a dash; the node is formatted with it all the same."""
    (tmp_path / "cluster-id").write_text("-kBTsU8FQOGuT9UxWZ73CA", "ascii")
    await LocalKafka(tmp_path, emit=ignore).prepare()
    meta = (tmp_path / "node-1" / "data" / "meta.properties").read_text("utf-8")
    assert "cluster.id=-kBTsU8FQOGuT9UxWZ73CA" in meta
