"""Settings of the fetcher's walls. Defaults are the named ones of ``tidegate.flow``."""

import msgspec
from pydantic import Field
from tidegate.errors import ConfigurationError
from tidegate.flow.gate import CAPTCHA_REQUESTS, PAGES, ClassMarks, GatePolicy, Marks
from tidegate.flow.shedding import Mark, SheddingPolicy
from tidegate.settings import Section
from tidegate.topics import Topic

from tidegate_fetcher.prone_sites import PronePolicy
from tidegate_fetcher.walls import WallsPolicy


def _given(marks: Marks | None) -> Marks:
    assert marks is not None
    return marks


_REQUESTS, _PAGES, _SHED, _PRONE = CAPTCHA_REQUESTS, PAGES.clean, SheddingPolicy(), PronePolicy()
_REQUESTS_WAIT, _PAGES_WAIT = _given(_REQUESTS.prone.wait_s), _given(_PAGES.wait_s)


class WallSettings(Section):
    """When the intake is held back, and when challenged jobs are shed. Marks in records are lags."""

    gate_read_s: float = Field(
        1.0, ge=0.1, le=30, description="Seconds between two readings of the lag downstream."
    )
    gate_requests_low: float = Field(
        _REQUESTS.prone.records.low,
        ge=0,
        description="Unanswered captcha requests up to which challenge-prone sites go on in full. Raise the "
        "marks with the number of tasks that your solvers have in flight.",
    )
    gate_requests_high: float = Field(
        _REQUESTS.prone.records.high, gt=0, description="Captcha requests from which on those sites are held."
    )
    gate_requests_wait_low_s: float = Field(
        _REQUESTS_WAIT.low,
        ge=0,
        description="The same by the seconds that a new request is expected to wait for a place at a solver.",
    )
    gate_requests_wait_high_s: float = Field(
        _REQUESTS_WAIT.high, gt=0, description="The same; well below `captcha_lifetime_s`."
    )
    gate_requests_in_hand: int = Field(
        _REQUESTS.in_hand,
        ge=0,
        description="Captcha requests that solvers which keep up have in hand: these do not wait. Twice "
        "their `concurrency`, so that they never run dry.",
    )
    gate_requests_clean_low: float = Field(
        _REQUESTS.clean.records.low,
        ge=0,
        description="Captcha requests up to which all other sites go on in full; they hardly ever cause any.",
    )
    gate_requests_clean_high: float = Field(
        _REQUESTS.clean.records.high, gt=0, description="Captcha requests from which on nothing is fetched."
    )
    gate_pages_low: float = Field(
        _PAGES.records.low,
        ge=0,
        description="Pages not stored yet up to which fetching goes on in full; half of it for prone sites.",
    )
    gate_pages_high: float = Field(
        _PAGES.records.high, gt=0, description="Pages from which on nothing is fetched; half for prone sites."
    )
    gate_pages_wait_low_s: float = Field(
        _PAGES_WAIT.low, ge=0, description="The same by the seconds until a page is expected to be stored."
    )
    gate_pages_wait_high_s: float = Field(_PAGES_WAIT.high, gt=0, description="The same.")
    shed_low_records: float = Field(
        _SHED.low.records,
        gt=0,
        description="Captcha requests above which jobs of low priority that meet a challenge become dead "
        "letters with the reason `shed`, to be replayed. Above the gate's marks, which come first.",
    )
    shed_low_wait_s: float = Field(
        _SHED.low.wait_s, gt=0, description="The same by the seconds that a new request is expected to wait."
    )
    shed_normal_records: float = Field(
        _SHED.normal.records,
        gt=0,
        description="Captcha requests above which those of normal priority are shed, too; high never are.",
    )
    shed_normal_wait_s: float = Field(_SHED.normal.wait_s, gt=0, description="The same by seconds.")
    prone_share: float = Field(
        _PRONE.from_share,
        gt=0,
        lt=1,
        description="Share of a site's answers that are challenges from which on it counts as prone to them, "
        "until the share is half of that. One in twenty costs as much to solve as the nineteen pages do.",
    )
    prone_memory_s: float = Field(
        _PRONE.memory_s,
        gt=0,
        le=86_400,
        description="Seconds after which a site's answer counts a third.",
    )

    def walls(self) -> WallsPolicy:
        """Return the walls' policies. Raises ConfigurationError where marks contradict each other."""
        try:
            return self._walls()
        except ConfigurationError as error:
            raise ConfigurationError(f"TIDEGATE_FETCHER__GATE_…, __SHED_… or __PRONE_…: {error}") from error

    def _walls(self) -> WallsPolicy:
        requests = msgspec.structs.replace(
            CAPTCHA_REQUESTS,
            prone=ClassMarks(
                records=Marks(self.gate_requests_low, self.gate_requests_high),
                wait_s=Marks(self.gate_requests_wait_low_s, self.gate_requests_wait_high_s),
            ),
            clean=ClassMarks(
                records=Marks(self.gate_requests_clean_low, self.gate_requests_clean_high), wait_s=None
            ),
            in_hand=self.gate_requests_in_hand,
        )
        records = Marks(self.gate_pages_low, self.gate_pages_high)
        wait_s = Marks(self.gate_pages_wait_low_s, self.gate_pages_wait_high_s)
        pages = msgspec.structs.replace(
            PAGES,
            prone=ClassMarks(records=_half(records), wait_s=_half(wait_s)),
            clean=ClassMarks(records=records, wait_s=wait_s),
        )
        gate: dict[Topic, GatePolicy] = {Topic.CAPTCHA_REQUESTS: requests, Topic.PAGES: pages}
        return WallsPolicy(
            gate=gate,
            shedding=SheddingPolicy(
                low=Mark(records=self.shed_low_records, wait_s=self.shed_low_wait_s),
                normal=Mark(records=self.shed_normal_records, wait_s=self.shed_normal_wait_s),
                in_hand=self.gate_requests_in_hand,
            ),
            prone=PronePolicy(
                from_share=self.prone_share, below_share=self.prone_share / 2, memory_s=self.prone_memory_s
            ),
            read_every_s=self.gate_read_s,
        )


def _half(marks: Marks) -> Marks:
    return Marks(marks.low / 2, marks.high / 2)
