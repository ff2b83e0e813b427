"""What all processes told, by scope and subject, in buckets of five seconds. Pure.

Everything here comes from the records of ``stats`` and their append times, so a monitor that starts anew, or
one more of them, comes to the same numbers by reading the same records. ``now_ms`` is the broker's epoch
milliseconds everywhere. The latest values are kept by instance, and forgotten with an instance that has told
nothing for a while: what it said of itself is not so any more.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping

from tidegate.stats import OTHER, SERVICE, SITE, DeadNote, Part, StatsDelta

BUCKET_MS = 5_000
HORIZON_MS = 15 * 60_000
_GONE_AFTER_MS = 15_000
_MOST_SERIES = 2_000
_IDLE_AFTER_S = 300.0  # the window of a site's rate
_MOST_INSTANCES = 500
_MOST_NOTES = 50


class Series:
    """The parts of one subject, oldest first, at most a quarter of an hour of them."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, Part]] = deque()

    @property
    def newest(self) -> int:
        """The number of the newest bucket; -1 where there is none."""
        return self._buckets[-1][0] if self._buckets else -1

    def add(self, part: Part, at_ms: int) -> None:
        """Add a part; one that comes late counts as of the newest bucket."""
        number = max(at_ms // BUCKET_MS, self.newest)
        if number != self.newest:
            self._buckets.append((number, Part()))
        self._buckets[-1][1].add(part)
        while self._buckets[0][0] <= number - HORIZON_MS // BUCKET_MS:
            self._buckets.popleft()

    def shift(self, buckets: int) -> None:
        """Count everything as so many buckets earlier."""
        self._buckets = deque((number - buckets, part) for number, part in self._buckets)

    def total(self, window_s: float, now_ms: int) -> Part:
        """Return the sum over the last ``window_s`` seconds, the bucket that fills included."""
        result, oldest = Part(), now_ms // BUCKET_MS - int(window_s * 1000) // BUCKET_MS
        for number, part in reversed(self._buckets):
            if number <= oldest:
                break
            for name, amount in part.sums.items():
                result.sums[name] = result.sums.get(name, 0.0) + amount
            for name, counts in part.times.items():
                mine = result.times.setdefault(name, {})
                for bucket, count in counts.items():
                    mine[bucket] = mine.get(bucket, 0) + count
        return result

    def last_before(self, name: str, at_ms: int) -> float | None:
        """Return a latest value as it was at a time; None where nobody knew it then."""
        number = at_ms // BUCKET_MS
        for found, part in reversed(self._buckets):
            if found <= number and name in part.last:
                return part.last[name]
        return None

    def points(self, value: Callable[[Part], float], count: int, buckets: int, now_ms: int) -> list[float]:
        """Return ``count`` values, oldest first, each of the sum of that many buckets; full buckets only."""
        end = now_ms // BUCKET_MS
        sums = [Part() for _ in range(count)]
        for number, part in self._buckets:
            place = count - 1 - (end - 1 - number) // buckets
            if number < end and 0 <= place < count:
                sums[place].add(part)
        return [value(each) for each in sums]


class _Instance:
    def __init__(self, service: str) -> None:
        self.service = service
        self.at_ms = 0
        self.last: dict[str, dict[str, dict[str, float]]] = {}


class Board:
    """All series and the latest values of all instances, both bounded."""

    def __init__(self, most_series: int = _MOST_SERIES) -> None:
        self._most_series = most_series
        self._series: dict[tuple[str, str], Series] = {}
        self._instances: dict[str, _Instance] = {}
        self._heard_ms: dict[str, int] = {}
        self.dead: deque[DeadNote] = deque(maxlen=_MOST_NOTES)

    def take(self, delta: StatsDelta, at_ms: int) -> None:
        """Take a record in, with the time at which the broker has it."""
        instance = self._instances.get(delta.instance)
        if instance is None:
            instance = self._instances[delta.instance] = _Instance(delta.service)
            self._forget_instances()
        instance.service = delta.service
        instance.at_ms = max(instance.at_ms, at_ms)
        self._heard_ms[delta.service] = max(at_ms, self._heard_ms.get(delta.service, 0))
        instance.last = {}
        for scope, subjects in delta.parts.items():
            for subject, part in subjects.items():
                named = delta.service if scope == SERVICE else subject
                self._of(scope, named, at_ms).add(part, at_ms)
                if part.last:
                    instance.last.setdefault(scope, {})[named] = part.last
        self.dead.extend(delta.dead)

    def shift(self, by_ms: int) -> None:
        """Put everything back by so much: the broker's clock is another one now."""
        for series in self._series.values():
            series.shift(by_ms // BUCKET_MS)
        for instance in self._instances.values():
            instance.at_ms -= by_ms
        self._heard_ms = {service: at_ms - by_ms for service, at_ms in self._heard_ms.items()}

    def series(self, scope: str, subject: str) -> Series:
        """Return a subject's series; an empty one where there is none."""
        return self._series.get((scope, subject)) or Series()

    def total(self, scope: str, subject: str, window_s: float, now_ms: int) -> Part:
        """Return the sums and times of a subject over a window."""
        return self.series(scope, subject).total(window_s, now_ms)

    def subjects(self, scope: str, window_s: float, now_ms: int) -> list[str]:
        """Return the subjects that told something within a window, in the order of their names."""
        oldest = (now_ms - int(window_s * 1000)) // BUCKET_MS
        found = (
            subject
            for (kind, subject), each in self._series.items()
            if kind == scope and each.newest > oldest
        )
        return sorted(found)

    def last(self, scope: str, name: str, now_ms: int) -> Mapping[str, list[float]]:
        """Return a latest value by subject: one of each instance that lives and has it."""
        found: dict[str, list[float]] = {}
        for _, instance in self._living(now_ms):
            for subject, names in instance.last.get(scope, {}).items():
                if name in names:
                    found.setdefault(subject, []).append(names[name])
        return found

    def last_of(self, scope: str, now_ms: int) -> Iterator[tuple[str, str, Mapping[str, float]]]:
        """Yield service, subject and latest values of each instance that lives."""
        for _, instance in self._living(now_ms):
            for subject, names in instance.last.get(scope, {}).items():
                yield instance.service, subject, names

    def instances(self, service: str, now_ms: int) -> list[str]:
        """Return the names of a service's instances that live, sorted."""
        return sorted(name for name, each in self._living(now_ms) if each.service == service)

    def silent_s(self, now_ms: int) -> Mapping[str, float]:
        """Return for how long each service has told nothing; of those heard within the horizon."""
        ages = {service: (now_ms - at_ms) / 1000 for service, at_ms in self._heard_ms.items()}
        return {service: max(0.0, age) for service, age in ages.items() if age * 1000 < HORIZON_MS}

    def _living(self, now_ms: int) -> Iterator[tuple[str, _Instance]]:
        for name, instance in self._instances.items():
            if now_ms - instance.at_ms < _GONE_AFTER_MS:
                yield name, instance

    def _of(self, scope: str, subject: str, now_ms: int) -> Series:
        found = self._series.get((scope, subject))
        if found is None:
            if len(self._series) >= self._most_series:
                self._forget_series(now_ms)
            found = self._series[(scope, subject)] = Series()
        return found

    def _forget_series(self, now_ms: int) -> None:
        """Let a tenth go: of the sites before all others the idle ones, then those with the least to tell.

        By the time of their newest bucket alone, all that are active would tie, and the longest known go.
        """
        idle = now_ms // BUCKET_MS - int(_IDLE_AFTER_S * 1000) // BUCKET_MS

        def worth(key: tuple[str, str]) -> tuple[bool, bool, float, int]:
            series = self._series[key]
            told = sum(series.total(_IDLE_AFTER_S, now_ms).sums.values())
            return key[0] != SITE or key[1] == OTHER, series.newest > idle, told, series.newest

        for key in sorted(self._series, key=worth)[: max(1, self._most_series // 10)]:
            del self._series[key]

    def _forget_instances(self) -> None:
        while len(self._instances) > _MOST_INSTANCES:
            del self._instances[min(self._instances, key=lambda name: self._instances[name].at_ms)]
