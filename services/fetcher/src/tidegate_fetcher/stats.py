"""What of the fetcher's events the monitor is told of."""

from tidegate.stats import SITE, SUBNET, TOPIC, WALL
from tidegate.telemetry.tally import How, Tally

from tidegate_fetcher import events

STATS = (
    Tally(name="fetch", event=events.FetchDone, label="outcome"),
    Tally(name="fetch", event=events.FetchDone, scope=SITE, by="site", label="outcome"),
    Tally(name="challenges", event=events.FetchDone, where=("challenged", True)),
    Tally(name="challenges", event=events.FetchDone, scope=SITE, by="site", where=("challenged", True)),
    Tally(name="fetch_s", event=events.FetchDone, how=How.TIMES, value="elapsed_ms", scale=0.001),
    Tally(name="wire_bytes", event=events.FetchDone, value="wire_bytes"),
    Tally(name="downstream", event=events.LagRead, how=How.LAST, scope=TOPIC, by="topic", value="records"),
    Tally(name="share", event=events.LagRead, how=How.LAST, scope=WALL, subject="clean", value="share_clean"),
    Tally(name="share", event=events.LagRead, how=How.LAST, scope=WALL, subject="prone", value="share_prone"),
    Tally(
        name="level",
        event=events.SheddingChanged,
        how=How.LAST,
        scope=WALL,
        subject="shedding",
        value="what",
    ),
    Tally(name="proxies", event=events.ProxiesLoaded, how=How.LAST, value="proxies"),
    Tally(name="proxies_healthy", event=events.ProxiesLoaded, how=How.LAST, value="healthy"),
    Tally(name="proxies_healthy", event=events.ProxyQuarantined, how=How.LAST, value="healthy"),
    Tally(name="proxies_healthy", event=events.ProxyRestored, how=How.LAST, value="healthy"),
    Tally(name="proxies_none", event=events.NoHealthyProxy, how=How.LAST),
    Tally(name="proxies_none", event=events.ProxiesBack, how=How.LAST, value=0.0),
    Tally(name="failing", event=events.SubnetFailing, how=How.LAST, scope=SUBNET, by="subnet"),
    Tally(name="failing", event=events.SubnetRestored, how=How.LAST, scope=SUBNET, by="subnet", value=0.0),
)
