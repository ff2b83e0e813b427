"""How many requests a site has at once, and when the next one's turn comes. Pure.

A job waits in hand only for as long as its site's queue is short; with more ahead of it than that it is
deferred to a slot of its own, so that one slow site never fills the window (delivery.md T3). Slots are
booked one after the other. Who comes back at his slot goes before who has not been here yet.
"""

from collections import OrderedDict

import msgspec

_FIRST_GUESS_S = 0.1
_WEIGHT = 0.2
_LONGEST_DEFERRAL_S = 3600.0


class Go(msgspec.Struct, frozen=True):
    """A slot is taken; give it back with ``leave``."""


class Wait(msgspec.Struct, frozen=True):
    """Wait in hand: the job was added to the site's queue."""


class Later(msgspec.Struct, frozen=True):
    """Come back in ``delay_s`` seconds, at the slot that was booked."""

    delay_s: float


class _Site(msgspec.Struct):
    """``service_s`` is a request's smoothed time, ``started_sum`` the sum of the running ones' starts."""

    running: int = 0
    waiting: int = 0
    started_sum: float = 0.0
    service_s: float = _FIRST_GUESS_S
    booked_until: float = 0.0


class SiteLimits:
    """The state of all sites; at most ``remembered`` idle ones, the least recently used go first.

    ``concurrency`` is requests at once per site; ``wait_s`` the longest wait in hand. ``now`` is
    monotonic seconds everywhere.
    """

    def __init__(self, *, concurrency: int, wait_s: float, remembered: int = 10_000) -> None:
        self._concurrency = concurrency
        self._wait_s = wait_s
        self._remembered = remembered
        self._sites: OrderedDict[str, _Site] = OrderedDict()

    def ask(self, site: str, now: float, *, returning: bool) -> Go | Wait | Later:
        """Ask for a slot. ``returning`` says that the job was deferred before."""
        load = self._of(site)
        if load.running < self._concurrency and not load.waiting:
            self._start(load, now)
            return Go()
        expected = self._expected(load, now)
        behind_others = not returning and load.booked_until > now + expected
        if expected <= self._wait_s and not behind_others:
            load.waiting += 1
            return Wait()
        return self._later(load, now, expected)

    def promote(self, site: str, now: float) -> bool:
        """Turn one waiting job into a running one where a slot is free."""
        load = self._of(site)
        if not load.waiting or load.running >= self._concurrency:
            return False
        load.waiting -= 1
        self._start(load, now)
        return True

    def give_up(self, site: str, now: float) -> Later:
        """Take a waiting job that waited too long out of the queue and book it a slot."""
        load = self._of(site)
        load.waiting -= 1
        return self._later(load, now, self._expected(load, now))

    def abandon(self, site: str) -> None:
        """Take a waiting job out of the queue without a slot: it was cancelled."""
        self._of(site).waiting -= 1

    def leave(self, site: str, started: float, now: float) -> None:
        """Give a slot back that was taken at ``started``."""
        load = self._of(site)
        load.running -= 1
        load.started_sum = load.started_sum - started if load.running else 0.0
        load.service_s += _WEIGHT * ((now - started) - load.service_s)
        self._forget()

    def running(self, site: str) -> int:
        """Return how many requests of a site are running."""
        load = self._sites.get(site)
        return 0 if load is None else load.running

    def _of(self, site: str) -> _Site:
        load = self._sites.get(site)
        if load is None:
            load = self._sites[site] = _Site()
        else:
            self._sites.move_to_end(site)
        return load

    @staticmethod
    def _start(load: _Site, now: float) -> None:
        load.running += 1
        load.started_sum += now

    def _expected(self, load: _Site, now: float) -> float:
        """Return the expected wait. Running requests count by their age: a site that hangs shows at once."""
        age = now - load.started_sum / load.running if load.running else 0.0
        return (load.waiting + 1) * max(load.service_s, age) / self._concurrency

    def _later(self, load: _Site, now: float, expected: float) -> Later:
        slot = max(now + expected, load.booked_until)
        slot = min(slot, now + _LONGEST_DEFERRAL_S)
        load.booked_until = slot + load.service_s / self._concurrency
        return Later(slot - now)

    def _forget(self) -> None:
        while len(self._sites) > self._remembered:
            site, load = next(iter(self._sites.items()))
            if load.running or load.waiting:
                self._sites.move_to_end(site)
                return
            del self._sites[site]
