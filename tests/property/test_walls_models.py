"""The newer walls against models that are too simple to be wrong."""

import math

from hypothesis import given
from hypothesis import strategies as st
from tidegate.flow.bound import Bound
from tidegate.flow.unread import UnreadWall
from tidegate_fetcher.prone_sites import PronePolicy, ProneSites


@given(used=st.lists(st.integers(0, 30), max_size=60), most=st.integers(1, 20), data=st.data())
def test_a_bound_is_full_from_its_mark_until_it_is_free_again(
    used: list[int], most: int, data: st.DataObject
) -> None:
    """It is what the last reading outside its two marks made it."""
    free = data.draw(st.integers(0, most - 1))
    bound = Bound(most, free)
    full = False
    for now in used:
        before = full
        full = True if now >= most else False if now <= free else full
        assert bound.note(now) is (full is not before)
        assert bound.full is full


@given(
    answers=st.lists(
        st.tuples(st.floats(0.0, 900.0), st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=60
    )
)
def test_a_site_is_prone_by_all_that_it_ever_answered_each_fading(
    answers: list[tuple[float, str, bool]],
) -> None:
    """The running sums are those of the whole history, and the table forgets nobody that it has room for."""
    policy = PronePolicy()
    sites = ProneSites(policy)
    history: dict[str, list[tuple[float, bool]]] = {}
    prone: set[str] = set()
    now = 0.0

    def share(site: str, at: float) -> float:
        weights = [(math.exp((then - at) / policy.memory_s), met) for then, met in history[site]]
        return sum(w for w, met in weights if met) / (sum(w for w, _ in weights) + policy.doubt)

    for pause_s, site, challenged in answers:
        now += pause_s
        history.setdefault(site, []).append((now, challenged))
        mark = policy.below_share if site in prone else policy.from_share
        seen = share(site, now)
        changed = sites.answered(site, challenged=challenged, now=now)
        if abs(seen - mark) < 1e-9:
            return  # a rounding decides
        assert changed is ((seen >= mark) is not (site in prone))
        (prone.add if seen >= mark else prone.discard)(site)
        for each in history:
            if abs(share(each, now) - policy.below_share) > 1e-9:
                assert sites.is_prone(each, now) is (each in prone and share(each, now) >= policy.below_share)


@given(
    readings=st.lists(
        st.tuples(
            st.floats(0.1, 20.0), st.dictionaries(st.integers(0, 3), st.floats(0.0, 120.0), max_size=4)
        ),
        max_size=25,
    )
)
def test_it_is_shut_for_what_was_old_and_has_not_been_young_since(
    readings: list[tuple[float, dict[int, float]]],
) -> None:
    """Told once when it shuts, and once when it opens."""
    wall = UnreadWall()
    now = 0.0
    old: set[int] = set()
    for pause_s, ages in readings:
        now += pause_s
        changes = wall.observe(ages, now)
        before = set(old)
        for partition in range(4):
            age = ages.get(partition, 0.0)
            if age >= 60.0:
                old.add(partition)
            elif age < 30.0:
                old.discard(partition)
        assert {change.partition for change in changes} == before ^ old
        assert {partition for partition in range(4) if wall.is_shut(partition, now)} == old
