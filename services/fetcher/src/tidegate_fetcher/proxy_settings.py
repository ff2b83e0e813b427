"""Settings of the fetcher's proxies. Defaults are the named ones of ``proxy_standing``."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from tidegate.settings import Section

from tidegate_fetcher.proxy_standing import ProxyPolicy

_DEFAULT = ProxyPolicy()


class ProxySettings(Section):
    """Where the list of proxies is, and when one of them is left alone."""

    proxies_file: Path | None = Field(
        None,
        description="File with the proxies that everything goes through, one a line: a URL (http, https, "
        "socks5), `host:port` or `host:port:user:password`. A mounted secret will do. Read again when it "
        "changes. With a list nothing is ever fetched without a proxy.",
    )
    proxies_url: SecretStr | None = Field(
        None,
        description="Address that such a list is read from, instead of a file; it may hold a token, and is "
        "better given as a file (_FILE).",
    )
    proxies_reread_s: float = Field(
        30.0, ge=1, le=86_400, description="Seconds between two looks whether the list has changed."
    )
    proxies_kept: int = Field(
        64, ge=1, le=10_000, description="SOCKS proxies whose connections are kept open, least used go first."
    )
    proxy_cooldown_s: float = Field(
        _DEFAULT.cooldown_s,
        ge=0,
        le=3600,
        description="Seconds that a proxy rests between two requests, where another one is cool; where none "
        "is, the one that rested longest is taken.",
    )
    proxy_quarantine_s: float = Field(
        _DEFAULT.quarantine_s,
        ge=1,
        le=86_400,
        description="Seconds for which a proxy is left alone that failed more than 5 times and more than "
        "half as often as it succeeded. Doubled each time that it fails again.",
    )
    proxy_quarantine_most_s: float = Field(
        _DEFAULT.quarantine_most_s, ge=1, le=604_800, description="Seconds to which that grows at most."
    )

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        """Refuse two lists, and an address that none can be read from."""
        if self.proxies_url is not None:
            if self.proxies_file is not None:
                raise ValueError("give TIDEGATE_FETCHER__PROXIES_FILE or __PROXIES_URL, not both")
            if not self.proxies_url.get_secret_value().startswith(("http://", "https://")):
                raise ValueError("TIDEGATE_FETCHER__PROXIES_URL is no http(s) address")
        if self.proxy_quarantine_most_s < self.proxy_quarantine_s:
            raise ValueError("a proxy's longest quarantine cannot be shorter than its first")
        return self

    def proxy_policy(self) -> ProxyPolicy:
        """Return how proxies are treated."""
        return ProxyPolicy(
            cooldown_s=self.proxy_cooldown_s,
            quarantine_s=self.proxy_quarantine_s,
            quarantine_most_s=self.proxy_quarantine_most_s,
        )
