"""Which record kills the process: a partition's suspicion, kept in its commit's metadata. Pure (C10).

A process that is killed leaves nothing behind but its commits, so these bear what its successor must know:

1. Before the first record of a partition is handed out, a commit says ``begun``. A clean end (a drain) takes
   that back. Whoever begins a partition and finds it, counts a crash at this committed offset; a commit that
   gets further forgets it. From the first crash on only a few records beyond the committed one are read.
2. After ``crashes`` of them the partition is read one record at a time, as many records as may have been in
   hand at those crashes. Before each is handled, a commit says that it is in hand ``alone``. It is always the
   record at the committed offset: all before it are done.
3. A crash meanwhile accuses that record. Another partition's record may have been the one, so it is tried
   with nothing else in hand in the whole process. After ``crashes_alone`` crashes of that kind it is
   condemned: it becomes a dead letter and is not handled.

Kills from outside condemn nobody, unless all of these hit one record: so many of them on trial, and within
seconds. Who has been in hand for longer, while the loop turned, is acquitted, though the handler may still
wait for somebody.
"""

import re

import msgspec

from tidegate.errors import IllegalTransitionError

# How many records beyond the committed one are read after a crash; those of one poll come on top. Few, since
# it is undone by the next commit that gets further, and each of them may have to be tried by itself.
NARROW = 8
# Hence as many may have been in hand at the crashes after the first.
_RECORDS_ALONE = 2 * NARROW
ACQUITTED_AFTER_S = 10.0

_NOTE = re.compile(r"(b?)(a?)(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
_MOST = 999


class IsolationPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """After how many crashes at one offset to isolate (0: never), and after how many on trial to condemn."""

    crashes: int = 3
    crashes_alone: int = 2


class Suspicion(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one partition.

    ``begun``: records were handed out and the end was not clean. ``crashes``: at the committed offset.
    ``left``: records still to be read one at a time. ``alone``: the one at the committed offset is in hand,
    nothing else of the partition. ``accused``: crashes with that one in hand so, all but the first on trial.
    """

    begun: bool = False
    crashes: int = 0
    left: int = 0
    alone: bool = False
    accused: int = 0

    @property
    def is_isolated(self) -> bool:
        """Whether the partition is read one record at a time."""
        return self.left > 0

    @property
    def is_narrow(self) -> bool:
        """Whether only a few records beyond the committed one are read."""
        return self.crashes > 0 and not self.left

    @property
    def on_trial(self) -> bool:
        """Whether the next record is accused and may have nothing beside it in the whole process."""
        return self.left > 0 and self.accused > 0

    def condemns(self, policy: IsolationPolicy) -> bool:
        """Say whether the next record has killed often enough."""
        return self.left > 0 and self.accused > policy.crashes_alone

    def taken_over(self, policy: IsolationPolicy) -> "Suspicion":
        """Return what the next owner begins with: a crash is counted where the end was not clean."""
        if not self.begun or not policy.crashes:
            return self.ended() if policy.crashes else Suspicion()
        if self.alone:
            return Suspicion(left=self.left, accused=min(self.accused + 1, _MOST))
        if self.left:
            return Suspicion(left=self.left, accused=self.accused)
        crashes = self.crashes + 1
        return Suspicion(left=_RECORDS_ALONE) if crashes >= policy.crashes else Suspicion(crashes=crashes)

    def began(self) -> "Suspicion":
        """Records are about to be handed out."""
        return msgspec.structs.replace(self, begun=True)

    def ended(self) -> "Suspicion":
        """The partition is given back in good order."""
        return msgspec.structs.replace(self, begun=False, alone=False)

    def progressed(self) -> "Suspicion":
        """The committed offset has moved: what was held against the record there is void."""
        return msgspec.structs.replace(self, crashes=0, alone=False, accused=0)

    def taken_alone(self) -> "Suspicion":
        """The next record is about to be handled by itself. Raises IllegalTransitionError if not isolated."""
        if not self.left:
            raise IllegalTransitionError("the partition is not isolated")
        return msgspec.structs.replace(self, alone=True)

    def acquitted(self) -> "Suspicion":
        """The record in hand has had its time to kill, and has not."""
        return msgspec.structs.replace(self, alone=False, accused=0)

    def put_back(self) -> "Suspicion":
        """The record is not in hand any more and not done either."""
        return msgspec.structs.replace(self, alone=False)

    def handled(self) -> "Suspicion":
        """The record is done. Raises IllegalTransitionError if the partition is not isolated."""
        if not self.left:
            raise IllegalTransitionError("the partition is not isolated")
        return msgspec.structs.replace(self, alone=False, accused=0, left=self.left - 1)

    def condemned(self) -> "Suspicion":
        """The record is done, as a dead letter. Such records come in groups: the isolation begins anew."""
        return msgspec.structs.replace(self.handled(), left=_RECORDS_ALONE)

    def note(self) -> str:
        """Return it as a note for the commit's metadata; "" where there is nothing to say."""
        if self == Suspicion():
            return ""
        flags = ("b" if self.begun else "") + ("a" if self.alone else "")
        return f"{flags}{self.crashes}.{self.left}.{self.accused}"


INNOCENT = Suspicion()


def suspicion_of(note: str) -> Suspicion:
    """Return what a note says; nothing is held against anybody by one that is not ours."""
    found = _NOTE.fullmatch(note)
    if found is None:
        return Suspicion()
    begun, alone, crashes, left, accused = found.groups()
    return Suspicion(
        begun=bool(begun),
        crashes=int(crashes),
        left=min(int(left), _RECORDS_ALONE),
        alone=bool(alone) and int(left) > 0,
        accused=int(accused),
    )
