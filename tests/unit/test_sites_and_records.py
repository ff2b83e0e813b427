"""Sites, identities and how records are read."""

import msgspec
import pytest
from aiokafka.partitioner import murmur2
from tidegate import records
from tidegate.captcha_records import request_id
from tidegate.errors import RecordError
from tidegate.outcome import Reason
from tidegate.sites import partition_of, site_of, without_credentials, without_values


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("http://EXAMPLE.com/a", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("http://example.com:8080/", "example.com:8080"),
        ("https://user:pass@example.com/", "example.com"),
        ("http://[2001:DB8::1]:81/", "[2001:db8::1]:81"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://example.com./", "example.com"),
    ],
)
def test_a_site_is_the_host_and_a_port_that_is_not_the_default(url: str, site: str) -> None:
    """However the URL is written."""
    assert site_of(url) == site


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not a url", Reason.NOT_A_URL),
        ("", Reason.NOT_A_URL),
        ("http://", Reason.NOT_A_URL),
        ("http://example.com:99999/", Reason.NOT_A_URL),
        ("http://exa mple.com/", Reason.NOT_A_URL),
        ("http://" + "a" * 9000, Reason.NOT_A_URL),
        ("file:///etc/passwd", Reason.SCHEME_NOT_ALLOWED),
        ("javascript:alert(1)", Reason.SCHEME_NOT_ALLOWED),
    ],
)
def test_what_is_no_url_says_why(text: str, reason: Reason) -> None:
    """Each with a reason, in a sentence."""
    with pytest.raises(RecordError) as caught:
        site_of(text)
    assert caught.value.reason is reason
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(
    "url",
    [
        "https://joe:hunter2@exa\u2100mple.com/",
        "https://joe:hunter2/7@h.example/",
        "https://joe:hunter2@[zz]/",
    ],
)
def test_what_is_no_url_is_not_quoted(url: str) -> None:
    """The sentence is stored and shown, and a broken URL may still hold a password (O7)."""
    with pytest.raises(RecordError) as caught:
        site_of(url)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("key", [b"", b"a", b"example.com", b"\x00" * 21, "bücher".encode(), b"x" * 300])
def test_partitions_agree_with_the_java_client(key: bytes) -> None:
    """murmur2, as Kafka's own clients compute it (S1)."""
    assert partition_of(key, 12) == (murmur2(key) & 0x7FFFFFFF) % 12


def test_credentials_never_leave_a_url() -> None:
    """User, password and fragment are cut (O7)."""
    assert without_credentials("https://u:p@h.example:8443/a?b=c#d") == "https://h.example:8443/a?b=c"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://h.example/a?token=t0ken&n=1", "https://h.example/a?token=[removed]&n=[removed]"),
        ("https://u:p@h.example/a?t0ken#t0ken", "https://h.example/a?[removed]"),
        ("https://h.example/a?x=t0ken=t0ken&&=t0ken", "https://h.example/a?x=[removed]&=[removed]"),
        ("https://h.example/a?", "https://h.example/a"),
        ("https://h.example/a", "https://h.example/a"),
        ("https://[::1/?t=t0ken", ""),
    ],
)
def test_a_url_is_told_without_the_values_of_its_query(url: str, told: str) -> None:
    """Their names say enough; what is told once is told again as it is (O7)."""
    assert without_values(url) == told
    assert without_values(told).count("[removed]") == told.count("[removed]")


def inbound(**changes: object) -> records.Inbound:
    """A consumed record."""
    record = records.Inbound(
        topic="urls", partition=1, offset=2, timestamp_ms=3, key=b"s", value=b"v", headers={}
    )
    return msgspec.structs.replace(record, **changes)


def test_the_default_identity_depends_on_the_timestamp_too() -> None:
    """A broker that begins again at offset 0 must not reuse identities (O3)."""
    one, two = (records.default_id(records.origin_of(inbound(timestamp_ms=t))) for t in (3, 4))
    assert one != two
    assert one == records.default_id(records.origin_of(inbound()))


def test_a_request_id_is_of_run_id_and_hop() -> None:
    """The same hop asks once, the next hop anew; no two jobs can meet (M4)."""
    state = records.stray_job(inbound()).state
    ids = {
        request_id(msgspec.structs.replace(state, run=run, id=id_, hop=hop))
        for run, id_, hop in [("a", "bc", 0), ("ab", "c", 0), ("a", "bc", 1), ("a", "bc/1", 0)]
    }
    assert len(ids) == 4


def test_state_survives_its_header() -> None:
    """Written and read back, defaults left out."""
    state = msgspec.structs.replace(records.stray_job(inbound()).state, attempts={"network": 2}, hop=3)
    assert records.job_state(dict(records.job_headers(state))) == state


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"run":1}', b"\xff", b"[" * 100_000])
def test_a_broken_state_is_a_record_error(data: bytes) -> None:
    """Whatever stands there, it is refused with a sentence, never a crash."""
    with pytest.raises(RecordError) as caught:
        records.job_state({records.HEADER_JOB: data})
    assert caught.value.reason is Reason.BAD_STATE


def test_a_version_of_the_future_is_refused() -> None:
    """This build says what it reads."""
    state = msgspec.structs.replace(records.stray_job(inbound()).state, version=9)
    with pytest.raises(RecordError) as caught:
        records.job_state(dict(records.job_headers(state)))
    assert caught.value.reason is Reason.UNKNOWN_VERSION
