"""The monitor's own metrics."""

from tidegate.telemetry.metric import Kind, Metric, Source

from tidegate_monitor import events

METRICS = (
    Metric(
        name="tidegate.alerts.firing",
        kind=Kind.GAUGE,
        unit="{subject}",
        labels=("rule",),
        sources=(Source(events.AlertsFiring, "subjects"),),
        meaning="Sites, topics, providers and so on for which an alert fires, by rule.",
        action="docs/monitor.md says for each rule what it means and what to do.",
    ),
    Metric(
        name="tidegate.alerts.fired",
        kind=Kind.COUNTER,
        unit="{alert}",
        labels=("rule", "severity"),
        sources=(Source(events.AlertFired),),
        meaning="Alerts that fired.",
        action="Many of one rule: it goes on and off; see its marks.",
    ),
    Metric(
        name="tidegate.alerts.cleared",
        kind=Kind.COUNTER,
        unit="{alert}",
        labels=("rule", "severity"),
        sources=(Source(events.AlertCleared),),
        meaning="Alerts that cleared.",
        action="Nothing.",
    ),
    Metric(
        name="tidegate.monitor.refused",
        kind=Kind.COUNTER,
        unit="{time}",
        sources=(Source(events.StatsRefused),),
        meaning="Times that records of `stats` began to be unreadable.",
        action="Services newer than the monitor: update it.",
    ),
    Metric(
        name="tidegate.monitor.interruptions",
        kind=Kind.COUNTER,
        unit="{time}",
        sources=(Source(events.StatsInterrupted),),
        meaning="Times that `stats` could not be read.",
        action="Often: look at the broker. Nothing else depends on it.",
    ),
    Metric(
        name="tidegate.topic.lag",
        kind=Kind.GAUGE,
        unit="{record}",
        labels=("topic",),
        sources=(Source(events.LagKnown, "records"),),
        meaning="Records of a topic that nobody is done with. A plain HPA scales by it.",
        action="Growing for ten minutes: whoever reads the topic does not keep up, or a wall holds it.",
    ),
    Metric(
        name="tidegate.monitor.lags.unread",
        kind=Kind.COUNTER,
        unit="{outage}",
        sources=(Source(events.LagsUnread),),
        meaning="Times that the readers' lag could not be read any more.",
        action="While the broker answers otherwise: may this user describe the services' groups?",
    ),
    Metric(
        name="tidegate.webhook.failures",
        kind=Kind.COUNTER,
        unit="{post}",
        labels=("rule",),
        sources=(Source(events.WebhookFailed),),
        meaning="Alerts that could not be posted to the webhook.",
        action="Look at its address; the alerts are in the log and on the topic `alerts`.",
    ),
    Metric(
        name="tidegate.monitor.publish.failures",
        kind=Kind.COUNTER,
        unit="{record}",
        labels=("topic",),
        sources=(Source(events.PublishFailed),),
        meaning="Alerts and sites' healths that could not be written.",
        action="Are the topics `alerts` and `site-health` there, and may this user write them?",
    ),
)
