"""One provider fails, in every way that is documented, while another one is healthy.

What must hold: at least 99 % of the jobs open, no rule is broken that vendors ban for, and no more money is
lost than was in flight when it began and when it was noticed. ``tools/provider_failures.py`` plays every code
of every vendor; here each class of each family's codes is played once.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from support.solver import profile
from support.solver_failures import WAYS, codes, complaints, fail


def one_of_each_class(vendor: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the first code of each class, on orders and at the end of tasks."""
    played = set()
    for name, behaviour in codes(vendor).items():
        where, _, code = name.partition(" ")
        kind = profile(vendor).classify(code)
        if (where, kind) not in played:
            played.add((where, kind))
            yield vendor, name, behaviour


CASES = [
    *(("2captcha", name, behaviour) for name, behaviour in WAYS.items()),
    *one_of_each_class("capmonster"),
    *one_of_each_class("2captcha-legacy"),
]


@pytest.mark.parametrize(
    ("vendor", "name", "behaviour"), CASES, ids=[f"{vendor}: {name}" for vendor, name, _ in CASES]
)
def test_a_failing_provider_costs_a_little_time(vendor: str, name: str, behaviour: dict[str, Any]) -> None:
    """The jobs go to the other one, and the money that is lost was already out."""
    assert complaints(vendor, fail(vendor, behaviour, jobs=40)) == []
