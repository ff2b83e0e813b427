"""Tokens as a site sees them: opaque, single-use, short-lived, bound to a sitekey and a host."""

from base64 import urlsafe_b64encode
from collections import OrderedDict
from random import Random

import msgspec

from tidegate_cli.simulator.kinds import Kind


class Token(msgspec.Struct, kw_only=True):
    """What was sold. ``solved_at`` is monotonic seconds; the life of the token counts from there.

    ``invisible`` says for which widget of a key it was made. ``address`` and ``agent`` are the only ones that
    a clearance is good for.
    """

    kind: Kind
    sitekey: str
    host: str
    action: str = ""
    cdata: str = ""
    invisible: bool = False
    address: str = ""
    agent: str = ""
    solved_at: float
    used: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a verification; ``token`` is what a good one was sold as."""

    error_codes: tuple[str, ...] = ()
    token: Token | None = None

    @property
    def success(self) -> bool:
        """Whether the visitor may pass."""
        return not self.error_codes


class TokenBook:
    """All tokens that may still be shown to a site; at most ``limit``, the oldest go first."""

    def __init__(self, random: Random, limit: int = 50_000) -> None:
        self._random = random
        self._limit = limit
        self._tokens: OrderedDict[str, Token] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def forge(self, kind: Kind) -> str:
        """Return a token that looks right and that no verification will accept."""
        noise = urlsafe_b64encode(self._random.randbytes(kind.token_bytes)).decode().rstrip("=")
        return kind.prefix + noise

    def issue(self, token: Token) -> str:
        """Enter a token; return the text of it."""
        text = self.forge(token.kind)
        self._tokens[text] = token
        if len(self._tokens) > self._limit:
            self._tokens.popitem(last=False)
        return text

    def redeem(
        self,
        text: str,
        sitekey: str,
        host: str,
        now: float,
        *,
        invisible: bool | None = None,
        address: str = "",
        agent: str = "",
    ) -> Verdict:
        """Verify a token once. What is empty, here or of the token, is not compared.

        A token shown for another sitekey, widget or host, or by another visitor, is refused and stays good
        for its own.
        """
        token = self._tokens.get(text)
        if token is None:
            return Verdict(error_codes=("invalid-input-response",))
        if sitekey and sitekey != token.sitekey:
            return Verdict(error_codes=(token.kind.mismatch_code,))
        theirs = ((host, token.host), (address, token.address), (agent, token.agent))
        another_widget = invisible is not None and invisible != token.invisible
        if another_widget or any(shown and bound and shown != bound for shown, bound in theirs):
            return Verdict(error_codes=("invalid-input-response",))
        if token.used:
            return Verdict(error_codes=(token.kind.used_code,))
        if now - token.solved_at >= token.kind.ttl_s:
            return Verdict(error_codes=(token.kind.expired_code,))
        token.used = True
        return Verdict(token=token)
