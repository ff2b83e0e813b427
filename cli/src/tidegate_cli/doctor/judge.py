"""What to think of what was found. Pure."""

from collections.abc import Mapping, Sequence

from tidegate.proxies import ProxyList
from tidegate.topic_plan import TopicAction, TopicResult

from tidegate_cli.doctor.finding import Finding, fail, ok, warn

# From where the services' own alarm begins; beyond a minute certificates and passwords begin to fail, too.
CLOCK_WARN_MS = 2_000
CLOCK_FAIL_MS = 60_000
DISK_WARN = 0.10
DISK_FAIL = 0.02
_NAMED = 4
# With these otherwise than declared, records are lost, refused, or expire by the wrong clock.
_GRAVE = frozenset({"cleanup.policy", "message.timestamp.type", "max.message.bytes", "retention.ms"})


def topics(results: Sequence[TopicResult]) -> list[Finding]:
    """Judge what comparing the topics with their declaration gave."""
    missing = [each.name for each in results if each.action is TopicAction.MISSING]
    findings = []
    if missing:
        findings.append(fail("topics", f"missing: {_some(missing)}", "tidegate topics apply"))
    for each in results:
        if each.action is not TopicAction.DIFFERS:
            continue
        different = "; ".join(f"{d.setting} is {d.found}, declared {d.wanted}" for d in each.differences)
        grave = any(d.setting in _GRAVE and d.found is not None for d in each.differences)
        judged = fail if grave else warn
        mend = "tidegate topics apply --mend (partitions and replicas are never changed)"
        findings.append(judged("topics", f"{each.name}: {different}", mend))
    if not findings:
        findings.append(ok("topics", f"all {len(results)} are there, as declared"))
    return findings


def replicas(topics: Sequence[Mapping[str, object]], brokers: int, prefix: str) -> Finding:
    """Judge leaders and replicas, as the cluster's metadata has them."""
    headless, behind = [], []
    for topic in topics:
        for partition in topic["partitions"]:  # type: ignore[attr-defined]  # metadata without types
            place = f"{topic['topic']}[{partition['partition']}]"
            if partition["leader"] < 0:
                headless.append(place)
            elif len(partition["isr"]) < len(partition["replicas"]):
                behind.append(place)
    some = f"{brokers} broker{'s' * (brokers != 1)}"
    if headless:
        return fail(
            "brokers", f"{some}; no leader for {_some(headless)}", "look at the brokers that are down"
        )
    if behind:
        mend = "look at the brokers that are down or slow; until then a further loss may stop producers"
        return warn("brokers", f"{some}; replicas behind: {_some(behind)}", mend)
    return ok("brokers", f"{some}, every partition of {prefix or 'this installation'} has its replicas")


def clock(check: str, offset_ms: int, uncertain_ms: int) -> Finding:
    """Judge how far another clock is ahead of this host's; the truth lies ``uncertain_ms`` to either side."""
    least = max(0, abs(offset_ms) - uncertain_ms)
    ahead = "ahead of" if offset_ms > 0 else "behind"
    message = f"{abs(offset_ms) / 1000:.1f} s {ahead} this host's clock (± {uncertain_ms / 1000:.1f} s)"
    mend = "set the clocks by NTP, on this host and on theirs"
    if least >= CLOCK_FAIL_MS:
        return fail(check, message, mend)
    if least >= CLOCK_WARN_MS:
        return warn(check, message, mend)
    return ok(check, message)


def schema(found: int, needed: int, changed: Sequence[str]) -> Finding:
    """Judge the schema's version; ``changed`` are migrations whose text is another than what was applied."""
    if changed:
        mend = "this database was made by another build: use the build that made it, or another database"
        return fail("schema", f"not as this build made them: {', '.join(changed)}", mend)
    if found < needed:
        return fail("schema", f"version {found}, needed {needed}", "tidegate migrate")
    if found > needed:
        return ok("schema", f"version {found}, newer than the {needed} that this build needs")
    return ok("schema", f"version {found}")


def disk(free: int, total: int) -> Finding:
    """Judge what ClickHouse has left on the fullest of its disks, in bytes."""
    share = free / total if total else 1.0
    message = f"{free / 1e9:.1f} GB free ({share:.0%})"
    mend = "make room, or run tidegate migrate with TIDEGATE_STORER__TTL_DAYS: a full disk stops the storer"
    if share < DISK_FAIL:
        return fail("clickhouse disk", message, mend)
    return warn("clickhouse disk", message, mend) if share < DISK_WARN else ok("clickhouse disk", message)


def proxies(listed: ProxyList) -> list[Finding]:
    """Judge the list of proxies; lines are named by number, never by what stands in them."""
    findings = []
    if listed.bad:
        lines = _some([str(bad.number) for bad in listed.bad])
        message = f"{len(listed.bad)} lines are no proxies: {lines} ({listed.bad[0].problem})"
        findings.append(warn("proxies", message, "mend those lines; they are left out"))
    return [*findings, ok("proxies", f"{len(listed.proxies):,} in the list")]


def members(group: str, count: int | None, state: str) -> Finding:
    """Judge whether a service runs."""
    if count is None:
        return warn(group, "the broker does not say whether one runs", "see `tidegate status`")
    if count == 0:
        return warn(group, f"none runs (group {state})", f"start a {group}")
    return ok(group, f"{count} running (group {state})")


def balance(check: str, amount: float, low: float, *, threads: bool) -> Finding:
    """Judge what an account has left: US dollars, or free threads."""
    if threads:
        mend = "wait, or buy more threads"
        return (
            ok(check, f"{amount:.0f} threads free") if amount >= 1 else warn(check, "no thread is free", mend)
        )
    message = f"${amount:,.2f} left"
    if amount <= 0:
        return fail(check, message, "top the account up: nothing is solved there")
    return warn(check, message, "top the account up soon") if amount < low else ok(check, message)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
