"""Whether a provider may be asked at all, apart from how busy it is. Pure; ``now`` is monotonic seconds.

What: an error that a person must look at (a wrong key, no balance, a ban) takes it out, and only a look at
its account brings it back; an error that names a wait keeps us away for as long, and time brings it back.
Why so: vendors ban who goes on asking with a wrong key or an empty account, and a breaker that probes with
real requests every half minute does just that.
"""

from enum import StrEnum


class Place(StrEnum):
    """Where a provider stands."""

    IN = "in"
    PAUSED = "paused"
    OUT = "out"


class Standing:
    """One provider's; in at first."""

    def __init__(self, check_every_s: float) -> None:
        self._check_every_s = check_every_s
        self._place = Place.IN
        self._until_s = 0.0
        self._check_at_s = 0.0
        self.code = ""

    def place(self, now_s: float) -> Place:
        """Return where it stands now."""
        if self._place is Place.PAUSED and now_s >= self._until_s:
            self._place = Place.IN
        return self._place

    def pause(self, code: str, wait_s: float, now_s: float) -> bool:
        """Stay away for so long; True where that is news."""
        if self.place(now_s) is Place.OUT:
            return False
        news = self._place is Place.IN
        self._place, self.code = Place.PAUSED, code
        self._until_s = max(self._until_s, now_s + wait_s)
        return news

    def take_out(self, code: str, wait_s: float, now_s: float) -> bool:
        """Ask it nothing more until a look at the account brings it back; True where that is news.

        The first look comes after ``wait_s``.
        """
        news = self.place(now_s) is not Place.OUT
        self._place, self.code = Place.OUT, code
        self._check_at_s = now_s + max(wait_s, self._check_every_s)
        return news

    def is_check_due(self, now_s: float) -> bool:
        """Say whether it is time to look at the account of one that is out."""
        return self.place(now_s) is Place.OUT and now_s >= self._check_at_s

    def checked(self, now_s: float, *, well: bool, wait_s: float = 0.0) -> bool:
        """Take note of a look at the account; True where that brought it back."""
        if self.place(now_s) is not Place.OUT:
            return False
        if not well:
            self._check_at_s = now_s + max(wait_s, self._check_every_s)
            return False
        self._place, self.code = Place.IN, ""
        return True
