"""Who may pass: sessions, nonces that are good for one answer, passes that are good for one view.

Pure: ``now`` is a parameter in monotonic seconds, chance a ``random.Random``. Everything is bounded; the
oldest go first, and whoever's nonce is gone gets a new challenge.
"""

import hmac
from collections import OrderedDict
from random import Random
from typing import Generic, TypeVar

import msgspec

V = TypeVar("V")


class Issued(msgspec.Struct, frozen=True):
    """What a challenge carries: the visitor's session, a nonce and a state that must come back unchanged."""

    session: str
    nonce: str
    state: str


class _Awaited(msgspec.Struct, frozen=True):
    session: str
    path: str
    state: str
    issued_at: float


class _Bounded(OrderedDict[str, V], Generic[V]):
    """A dictionary that forgets its oldest entries."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def enter(self, key: str, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)


class Gate:
    """The state of all visitors.

    ``grace`` is how many further protected pages a verified session may view.
    """

    def __init__(
        self, random: Random, *, grace: int = 0, nonce_life_s: float = 600.0, limit: int = 100_000
    ) -> None:
        self._random = random
        self._grace = grace
        self._nonce_life_s = nonce_life_s
        self._awaited: _Bounded[_Awaited] = _Bounded(limit)
        self._views_left: _Bounded[int] = _Bounded(limit)
        self._passes: _Bounded[str] = _Bounded(limit)

    def challenge(self, path: str, session: str | None, now: float) -> Issued:
        """Issue a nonce for one answer to the challenge on ``path``; a visitor without a session gets one."""
        issued = Issued(session or self._secret(), self._secret(), f'{path}&v=1;"{self._secret()[:8]}"<ok>')
        self._awaited.enter(issued.nonce, _Awaited(issued.session, path, issued.state, now))
        return issued

    def answered(self, nonce: str, session: str | None, path: str, state: str, now: float) -> bool:
        """Use a nonce up; True if it was this session's, for this page, in time, with its state unchanged."""
        awaited = self._awaited.pop(nonce, None)
        return (
            awaited is not None
            and session is not None
            and hmac.compare_digest(awaited.session.encode(), session.encode())
            and awaited.path == path
            and awaited.state == state
            and now - awaited.issued_at < self._nonce_life_s
        )

    def awaits(self, nonce: str, session: str | None) -> bool:
        """Whether a nonce is this session's, and has not been answered."""
        awaited = self._awaited.get(nonce)
        return (
            awaited is not None
            and session is not None
            and hmac.compare_digest(awaited.session.encode(), session.encode())
        )

    def verified(self, session: str) -> None:
        """Give a session that passed its grace."""
        if self._grace:
            self._views_left.enter(session, self._grace)

    def new_pass(self, path: str) -> str:
        """Return a pass that is good for one view of ``path``."""
        text = self._secret()
        self._passes.enter(text, path)
        return text

    def admits(self, path: str, session: str | None, pass_text: str | None) -> bool:
        """Whether a visitor may view a protected page now; uses up the pass, or one view of the grace."""
        if pass_text is not None and self._passes.get(pass_text) == path:
            del self._passes[pass_text]
            return True
        left = self._views_left.get(session, 0) if session is not None else 0
        if session is None or left <= 0:
            return False
        self._views_left[session] = left - 1
        return True

    def _secret(self) -> str:
        return f"{self._random.getrandbits(128):032x}"
