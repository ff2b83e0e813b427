"""The pool of sessions against a naive one that remembers everything."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate_fetcher.session_pool import SessionPool
from tidegate_fetcher.sessions import Session

MOST, OF_A_SITE = 6, 3
NAMES = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("put"), NAMES, NAMES, st.booleans(), st.integers(1, 40)),
    st.tuples(st.just("get"), NAMES, NAMES),
    st.tuples(st.just("drop"), NAMES, NAMES),
    st.tuples(st.just("forget"), NAMES),
)


@settings(max_examples=60)
@given(steps=st.lists(STEPS, max_size=40))
def test_the_pool_holds_what_was_put_last_within_its_bounds(steps: list[tuple[object, ...]]) -> None:
    """Never more than its bounds; what is missing was dropped, is over, or had to go, unpaid ones first."""
    pool, known = SessionPool(most=MOST, of_a_site=OF_A_SITE), dict[tuple[str, str], Session]()
    for now_ms, (what, *rest) in enumerate(steps):
        site = str(rest[0])
        if what == "forget":
            pool.forget(lambda name, gone=site: name == gone)  # type: ignore[misc]
            known = {key: session for key, session in known.items() if key[0] != site}
            continue
        key = (site, str(rest[1]))
        if what == "put":
            passed = frozenset({"token"} if rest[2] else ())
            life_ms = rest[3]
            assert isinstance(life_ms, int)
            session = Session(
                site=site, identity=key[1], passed=passed, begun_ms=now_ms, until_ms=now_ms + life_ms
            )
            before = [s for s in known.values() if s.until_ms > now_ms and s is not known.get(key)]
            pool.put(session)
            known[key] = session
            kept = {id(s) for name in "abc" for s in pool.of_site(name)}
            gone = [s for s in [*before, session] if id(s) not in kept]
            if any(s.passed for s in gone):
                crowded = [s for s in before if s.site == site] if len(before) < MOST else before
                assert all(s.passed for s in [*crowded, session] if id(s) in kept)
            known = {key: s for key, s in known.items() if id(s) in kept}
        elif what == "drop":
            dropped = known.pop(key, None)
            assert dropped is None or pool.drop(dropped)
            assert dropped is None or not pool.drop(dropped)
        else:
            expected = known.get(key)
            over = expected is not None and expected.until_ms <= now_ms
            assert pool.get(*key, now_ms) is (None if over else expected)
            if over:
                del known[key]
        assert len(pool) == len(known) <= MOST
        assert all(len(list(pool.of_site(name))) <= OF_A_SITE for name in "abc")
