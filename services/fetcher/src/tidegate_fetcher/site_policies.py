"""What holds at a site: the policy file over the settings. Looked up once a site, then remembered."""

from collections.abc import Callable

import msgspec
from tidegate.errors import ConfigurationError
from tidegate.host_policy import HostDefaults, HostPolicies, PolicyFile, SubmitRecipe
from yarl import URL

from tidegate_fetcher.hosts import host_with_port
from tidegate_fetcher.images import ImageRule
from tidegate_fetcher.selectors import Selector
from tidegate_fetcher.site_slots import SiteRule

_REMEMBERED = 10_000


class SitePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds at one site. ``source`` says by which entry; ``solve`` None leaves it to the settings."""

    rule: SiteRule
    robots: bool
    user_agent: str
    solve: bool | None = None
    max_cost: float | None = None
    submit: SubmitRecipe | None = None
    image: ImageRule | None = None
    source: str = "the settings"


def at_most_every(rule: SiteRule, delay_s: float) -> SiteRule:
    """Return a rule that is no faster than one request in so many seconds."""
    if rule.per_second is not None and rule.interval_s >= delay_s:
        return rule
    return msgspec.structs.replace(rule, per_second=1 / delay_s, burst=1)


class SitePolicies:
    """The policies of all sites; ``base`` is what the settings say."""

    def __init__(self, base: SitePolicy) -> None:
        self._base = base
        self._hosts = HostPolicies(PolicyFile())
        self._known: dict[str, SitePolicy] = {}
        self._has_images = False
        self.entries = 0

    def use(self, file: PolicyFile) -> None:
        """Take a file. Raises ConfigurationError where it contradicts itself; the one before stays then."""
        hosts = HostPolicies(file)
        for number, entry in enumerate(file.host, 1):
            if entry.image is not None:
                try:
                    Selector(entry.image.selector)
                except ValueError as error:
                    raise ConfigurationError(f"host entry {number}, image.selector: {error}") from None
        self._hosts = hosts
        self._has_images = any(entry.image is not None for entry in file.host)
        self.entries = len(file.host)
        self._known = {}

    def image_at(self, url: URL) -> ImageRule | None:
        """Return where an image captcha would be on a page."""
        return self.of(host_with_port(url)).image if self._has_images else None

    def of(self, site: str) -> SitePolicy:
        """Return what holds at a site: a host, with its port where it is not the scheme's own."""
        known = self._known.get(site)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known = {}
            known = self._known[site] = self._made(site)
        return known

    @property
    def has_rates(self) -> bool:
        """Whether any site has a limit of requests a second."""
        file = self._hosts.file
        given: tuple[HostDefaults, ...] = (file.default, *file.host)
        return self._base.rule.per_second is not None or any(entry.rate is not None for entry in given)

    def _made(self, site: str) -> SitePolicy:
        file, base = self._hosts.file, self._base
        found = self._hosts.entry_of(site)
        entry = None if found is None else file.host[found[0]]
        layers = [file.default] if entry is None else [entry, file.default]

        def given(pick: Callable[[HostDefaults], object]) -> object:
            return next((value for layer in layers if (value := pick(layer)) is not None), None)

        rate, burst, concurrency = (
            given(lambda layer: layer.rate),
            given(lambda layer: layer.burst),
            given(lambda layer: layer.concurrency),
        )
        changes = {
            name: value
            for name, value in (
                ("robots", given(lambda layer: layer.robots)),
                ("user_agent", given(lambda layer: layer.user_agent)),
                ("solve", given(lambda layer: layer.solve)),
                ("max_cost", given(lambda layer: layer.max_cost)),
            )
            if value is not None
        }
        limits = {
            name: value
            for name, value in (("per_second", rate), ("burst", burst), ("concurrency", concurrency))
            if value is not None
        }
        image = None if entry is None else entry.image
        return msgspec.structs.replace(
            base,
            **changes,
            rule=msgspec.structs.replace(base.rule, **limits),
            submit=None if entry is None else entry.submit,
            image=None if image is None else ImageRule(selector=image.selector, field=image.field),
            source=_source(found, has_default=file.default != HostDefaults()),
        )


def _source(found: tuple[int, str] | None, *, has_default: bool) -> str:
    if found is not None:
        return f"host entry {found[0] + 1} ({found[1]})"
    return "the file's default" if has_default else "the settings"
