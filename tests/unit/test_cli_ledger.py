"""The two sets of ids, and what their comparison finds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tidegate_cli.crawl.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Give an empty ledger."""
    with Ledger(tmp_path / "ids.sqlite") as ledger:
        yield ledger


def test_what_was_submitted_and_has_an_outcome_is_neither_lost_nor_invented(ledger: Ledger) -> None:
    """The order does not matter, nor do ids that no terminal could show."""
    ids = ["a", "b\n\t", "ç\x00d"]
    assert ledger.submit(ids) == 3
    assert ledger.outcomes(reversed(ids)) == 3
    verdict = ledger.judge()
    assert (verdict.submitted, verdict.lost, verdict.invented) == (3, 0, 0)


def test_a_lost_job_and_an_invented_one_do_not_cancel_out(ledger: Ledger) -> None:
    """That is why sets are compared, not counts."""
    ledger.submit(["a", "b"])
    ledger.outcomes(["b", "c"])
    verdict = ledger.judge()
    assert (verdict.lost, verdict.lost_sample) == (1, ("a",))
    assert (verdict.invented, verdict.invented_sample) == (1, ("c",))


def test_an_id_counts_once_however_often_it_is_submitted(ledger: Ledger) -> None:
    """Two records with the same run and id are one job (O3)."""
    assert ledger.submit(["a", "a"]) == 1
    assert ledger.submit(["a", "b"]) == 1
    assert ledger.judge().submitted == 2


def test_outcomes_can_be_read_anew(ledger: Ledger) -> None:
    """A second look at ClickHouse starts from nothing."""
    ledger.submit(["a"])
    ledger.outcomes(["a", "x"])
    ledger.forget_outcomes()
    verdict = ledger.judge()
    assert (verdict.lost, verdict.invented) == (1, 0)
