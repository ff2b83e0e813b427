"""The book of tokens against a naive model: whatever is sold, shown and waited for."""

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from tidegate_cli.simulator.kinds import KINDS, Kind
from tidegate_cli.simulator.tokens import Token, TokenBook

_LIMIT = 5
_KINDS = st.sampled_from(list(KINDS.values()))
_NAMES = st.sampled_from(["a", "b"])


class TokenBookMachine(RuleBasedStateMachine):
    """The model is a list of what was sold, in order, and a set of what was used."""

    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.book = TokenBook(Random(1), limit=_LIMIT)
        self.sold: list[tuple[str, Kind, str, str, float]] = []
        self.used: set[str] = set()

    @rule(seconds=st.sampled_from([1.0, 60.0, 119.0, 120.0, 300.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule(target=tokens, kind=_KINDS, sitekey=_NAMES, host=_NAMES)
    def sell(self, kind: Kind, sitekey: str, host: str) -> str:
        """A token is sold."""
        token = Token(kind=kind, sitekey=sitekey, host=host, solved_at=self.now)
        text = self.book.issue(token)
        self.sold.append((text, kind, sitekey, host, self.now))
        return text

    @rule(text=tokens, sitekey=_NAMES, host=_NAMES)
    def show(self, text: str, sitekey: str, host: str) -> None:
        """A site shows a token: good exactly if kept, its own, young and unused."""
        verdict = self.book.redeem(text, sitekey, host, self.now)
        kept = {row[0]: row for row in self.sold[-_LIMIT:]}
        good = False
        if text in kept:
            _, kind, own_sitekey, own_host, solved_at = kept[text]
            mine = (sitekey, host) == (own_sitekey, own_host)
            good = mine and self.now < solved_at + kind.ttl_s and text not in self.used
        assert verdict.success is good
        if good:
            self.used.add(text)

    @invariant()
    def is_bounded(self) -> None:
        """The book never holds more than its limit."""
        assert len(self.book) <= _LIMIT


TokenBookMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_token_book = TokenBookMachine.TestCase
