"""What a process keeps, and how often it looks for garbage."""

import gc
from collections.abc import Iterator

import pytest
from tidegate.memory import collect_less


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the collector as it was found."""
    thresholds = gc.get_threshold()
    # All that the other tests have made is not to be walked through here.
    gc.freeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


class _Knot:
    def __init__(self) -> None:
        self.itself = self


def test_what_the_start_made_is_walked_through_no_more_and_garbage_is_still_found() -> None:
    """The collector leaves alone what was there, and goes on to find cycles among what came later."""
    before = gc.get_freeze_count()
    made = [_Knot() for _ in range(10)]
    collect_less()
    assert gc.get_freeze_count() >= before + len(made)
    assert gc.get_threshold()[0] > 700
    _Knot()
    assert gc.collect() >= 1


def test_a_service_may_ask_for_fewer_looks() -> None:
    """The storer does, which has more in hand."""
    collect_less(100_000)
    assert gc.get_threshold()[0] == 100_000
