"""Settings of the monitor: the environment's ``TIDEGATE_MONITOR__<FIELD>``, validated."""

from typing import Any

import tidegate.settings
from pydantic import Field, SecretStr, field_validator
from tidegate.alert_rules import Rule, changed, load
from tidegate.settings import Section, from_json, listed


class MonitorSettings(Section):
    """Where the live page is, who may see it, and who is told of alerts."""

    host: str = Field("127.0.0.1", description="Address of the live page; 0.0.0.0 in a container.")
    port: int = Field(8095, ge=1, le=65_535, description="Port of the live page.")
    hosts: tuple[str, ...] = Field(
        (),
        description="Names besides localhost by which the page may be asked for where there is no token, "
        "comma-separated, without ports.",
    )
    token: SecretStr = Field(
        SecretStr(""),
        description="Bearer token that whoever looks at the page must know; better given as a file. Empty "
        "asks for none, which is right on the loopback interface only.",
    )
    lag_every_s: float = Field(
        5.0, ge=1, le=60, description="Seconds between two readings of how far the readers are behind."
    )
    webhook: SecretStr = Field(
        SecretStr(""),
        description="Address that alerts are posted to as JSON when they fire and clear; it may hold a "
        "secret, so it may be given as a file. Empty posts nothing.",
    )
    webhook_timeout_s: float = Field(10.0, gt=0, le=60, description="Seconds that a post may take.")
    publish: bool = Field(
        True, description="Write `alerts` and `site-health` and post to the webhook. Off: only look."
    )

    alerts: dict[str, dict[str, float]] = Field(
        {},
        description="Numbers of alerts instead of the shipped ones, as JSON by alert and field: "
        '{"captcha_rate": {"above": 0.6, "clear_below": 0.5}}. Fields: window_s, above, at_least, '
        "clear_below, clear_at_most, least, for_s, clear_for_s. The Prometheus rules are files of their own.",
    )

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules by which this monitor judges."""
        return changed(load(), self.alerts)

    @field_validator("hosts", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return listed(value)

    @field_validator("alerts", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return from_json(value)

    @field_validator("alerts")
    @classmethod
    def _sound(cls, value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        changed(load(), value)
        return value

    @field_validator("webhook")
    @classmethod
    def _over_http(cls, value: SecretStr) -> SecretStr:
        if (url := value.get_secret_value()) and not url.startswith(("http://", "https://")):
            raise ValueError("an http or https address")
        return value


class Settings(tidegate.settings.Settings):
    """All settings of the monitor."""

    monitor: MonitorSettings = MonitorSettings()
