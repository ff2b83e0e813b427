"""The storer's pure parts: versions, reading, rows, redaction, batches, the default parser."""

import time
from urllib.parse import urljoin

import msgspec
import pytest
from support.storer import EPOCH_MS, dead_record, job_state, page_record, solve_record
from tidegate.captcha_records import SolutionStatus
from tidegate.errors import ConfigurationError, RecordError
from tidegate.outcome import Reason
from tidegate.records import HEADER_DEAD, HEADER_JOB, HEADER_ORIGINAL, HEADER_PAGE, Inbound
from tidegate.settings import load
from tidegate_storer import redact
from tidegate_storer.batch import Batch, Entry, Limits, token
from tidegate_storer.data_errors import is_data_error
from tidegate_storer.parsed import MAX_LINKS, Parsed, from_fields
from tidegate_storer.parsers import PageInfo, parse_html
from tidegate_storer.reading import DeadLetter, Page, Solve, read
from tidegate_storer.rows import Write, body_write, dead_writes, page_writes, solve_writes
from tidegate_storer.schema import migrations, statements
from tidegate_storer.settings import Settings
from tidegate_storer.tables import WRITE_ORDER, Table
from tidegate_storer.versions import dead_version, page_version, solve_version


def without(record: Inbound, header: str) -> Inbound:
    """Return the record without a header."""
    headers = {name: value for name, value in record.headers.items() if name != header}
    return msgspec.structs.replace(record, headers=headers)


def value_of(write: Write, column: str) -> object:
    """Return a row's value in a column."""
    return write.row[write.table.names.index(column)]


class TestVersions:
    def test_a_page_beats_any_dead_letter(self) -> None:
        """Even the latest page is above the latest dead letter (O1)."""
        late = {"timestamp_ms": (1 << 48) - 1, "offset": 1 << 62, "partition": 65_535}
        assert page_version(page_record(job_state(), **late)) > dead_version(dead_record(job_state(), **late))  # type: ignore[arg-type]

    def test_the_first_page_and_the_last_dead_letter_win(self) -> None:
        """Log order decides, first by append time, then by offset (O1)."""
        early, late = {"timestamp_ms": 5, "offset": 9}, {"timestamp_ms": 6, "offset": 3}
        state = job_state()
        assert page_version(page_record(state, **early)) > page_version(page_record(state, **late))  # type: ignore[arg-type]
        assert dead_version(dead_record(state, **early)) < dead_version(dead_record(state, **late))  # type: ignore[arg-type]

    def test_two_records_of_one_millisecond_never_tie(self) -> None:
        """Equal versions would leave the winner to the order of inserts (O1)."""
        places = [(partition, offset) for partition in (0, 1, 11) for offset in (0, 1, 1 << 20, 1 << 40)]
        versions = {
            page_version(page_record(job_state(), partition=partition, offset=offset, timestamp_ms=7))
            for partition, offset in places
        }
        assert len(versions) == len(places)

    def test_what_was_paid_for_is_not_hidden_by_a_later_failure(self) -> None:
        """Of the records of a request the solved one counts, else a paid one, else the last."""
        solved = solve_record(offset=1)
        paid = solve_record(offset=2, status=SolutionStatus.FAILED, cost=0.001)
        free = solve_record(offset=3, status=SolutionStatus.EXPIRED_UNBOUGHT, cost=0.0)
        later = solve_record(offset=4, status=SolutionStatus.FAILED, cost=0.0)
        versions = []
        for record in (free, later, paid, solved):
            item = read(record).payload
            assert isinstance(item, Solve)
            versions.append(solve_version(record, item.record))
        assert versions == sorted(versions)
        assert versions[-1] < 1 << 128


class TestReading:
    def test_a_page_carries_its_job_in_its_headers(self) -> None:
        """A dead letter made of a page holds the job's original bytes, not the page's body (C1)."""
        work = read(page_record(job_state("a")))
        assert isinstance(work.payload, Page)
        assert work.job.original == b'{"url":"https://shop.example/a"}'
        assert work.job.state.id == "a"

    @pytest.mark.parametrize("header", [HEADER_PAGE, HEADER_ORIGINAL])
    def test_a_page_without_a_header_is_refused_with_its_job(self, header: str) -> None:
        """Its dead letter bears the identity of the job."""
        with pytest.raises(RecordError, match=header) as caught:
            read(without(page_record(job_state("a")), header))
        assert caught.value.job is not None
        assert caught.value.job.state.id == "a"

    def test_a_page_without_its_job_is_refused(self) -> None:
        """There is nothing to identify it by."""
        with pytest.raises(RecordError, match=HEADER_JOB):
            read(without(page_record(job_state()), HEADER_JOB))

    @pytest.mark.parametrize("header", [HEADER_DEAD, HEADER_JOB])
    def test_a_dead_letter_that_cannot_be_read_is_still_one(self, header: str) -> None:
        """It becomes a row that says so and never another dead letter (O5)."""
        record = dead_record(job_state("a"))
        broken = msgspec.structs.replace(record, headers={**record.headers, header: b"\xff{"})
        work = read(broken)
        assert isinstance(work.payload, DeadLetter)
        writes = dead_writes(broken, work.job.state, work.payload.meta, work.payload.problem)
        assert value_of(writes[0], "reason") in {Reason.BAD_STATE, Reason.RETRIES_EXHAUSTED}
        assert (value_of(writes[0], "id") == "a") == (header == HEADER_DEAD)

    def test_garbage_on_the_dead_letter_topic_gets_a_row(self) -> None:
        """Somebody else's record has no header of ours at all."""
        record = msgspec.structs.replace(dead_record(job_state()), headers={}, value=b"\x00\xff")
        work = read(record)
        assert isinstance(work.payload, DeadLetter)
        (row, outcome) = dead_writes(record, work.job.state, None, work.payload.problem)
        assert "not written by this version" in str(value_of(row, "message"))
        assert value_of(outcome, "outcome") == "dead_letter"

    def test_a_solve_has_an_identity_of_its_own(self) -> None:
        """When its row is refused, the job that it was bought for goes on."""
        assert read(solve_record()).job.state.id != "job-1"

    def test_an_unreadable_solve_is_refused(self) -> None:
        """It becomes a dead letter with its bytes."""
        with pytest.raises(RecordError, match="the solve"):
            read(msgspec.structs.replace(solve_record(), value=b"{}"))


class TestRows:
    def test_rows_have_a_value_for_each_column(self) -> None:
        """Tables and rows are declared apart; they must agree."""
        record, state = page_record(job_state()), job_state()
        page = read(record).payload
        dead = dead_record(state)
        letter = read(dead).payload
        solve = read(solve_record()).payload
        assert isinstance(page, Page)
        assert isinstance(letter, DeadLetter)
        assert isinstance(solve, Solve)
        writes = [
            body_write(state, page.meta, b"x"),
            *page_writes(record, state, page.meta, Parsed()),
            *dead_writes(dead, state, letter.meta),
            *solve_writes(solve_record(), solve.record),
        ]
        fallback = dead_writes(dead, state, letter.meta)[0].fallback
        assert fallback is not None
        for write in [*writes, fallback]:
            assert len(write.row) == len(write.table.columns)
        assert {write.table.name for write in writes} == {table.name for table in WRITE_ORDER}

    def test_a_page_and_its_outcome_have_one_version(self) -> None:
        """Two tables that decide the same thing must decide it alike (O1)."""
        record = page_record(job_state())
        page = read(record).payload
        assert isinstance(page, Page)
        row, outcome = page_writes(record, job_state(), page.meta, Parsed())
        assert value_of(row, "version") == value_of(outcome, "version") == page_version(record)

    def test_values_out_of_range_are_brought_into_it(self) -> None:
        """An honest record is never refused for a number."""
        record = page_record(job_state(accepted_at_ms=-5), fetched_at_ms=10**18, elapsed_ms=-1, status=99_999)
        page = read(record).payload
        assert isinstance(page, Page)
        row = page_writes(record, job_state(accepted_at_ms=-5), page.meta, Parsed())[0]
        assert value_of(row, "accepted_at") == 0
        assert value_of(row, "elapsed_ms") == 0
        assert value_of(row, "status") == 65_535

    def test_cookies_of_an_answer_are_not_stored(self) -> None:
        """A session in a table is a session for every reader of it."""
        record = page_record(job_state(), headers={"Set-Cookie": "sid=secret", "server": "x"})
        page = read(record).payload
        assert isinstance(page, Page)
        row = page_writes(record, job_state(), page.meta, Parsed())[0]
        assert value_of(row, "headers") == {"server": "x"}

    def test_a_minimal_dead_letter_keeps_identity_and_reason(self) -> None:
        """What is left when the full row is refused (O5)."""
        record = dead_record(job_state("a", attempts={"blocked": 2}))
        letter = read(record).payload
        assert isinstance(letter, DeadLetter)
        full = dead_writes(record, job_state("a"), letter.meta)[0]
        assert full.fallback is not None
        assert value_of(full.fallback, "id") == "a"
        assert value_of(full.fallback, "reason") == Reason.RETRIES_EXHAUSTED
        assert value_of(full.fallback, "original") == ""
        assert value_of(full.fallback, "version") == value_of(full, "version")

    def test_a_long_original_is_cut_with_its_length_and_hash(self) -> None:
        """Ten megabytes of garbage are a small row (C9)."""
        record = dead_record(job_state(), b"A" * 1_000_000)
        letter = read(record).payload
        assert isinstance(letter, DeadLetter)
        row = dead_writes(record, job_state(), letter.meta)[0]
        assert value_of(row, "original_length") == 1_000_000
        assert len(str(value_of(row, "original"))) == redact.MAX_CHARACTERS
        assert len(str(value_of(row, "original_hash"))) == 32

    def test_the_trace_of_a_record_is_in_its_row(self) -> None:
        """So a row leads to its trace."""
        record = page_record(job_state())
        traced = msgspec.structs.replace(
            record, headers={**record.headers, "traceparent": b"00-" + b"a1" * 16 + b"-" + b"b" * 16 + b"-01"}
        )
        page = read(record).payload
        assert isinstance(page, Page)
        row = page_writes(traced, job_state(), page.meta, Parsed())[0]
        assert value_of(row, "trace_id") == "a1" * 16


class TestRedaction:
    SECRET = "hunter2"

    @pytest.mark.parametrize(
        "original",
        [
            '{"url":"https://u:hunter2@a.example/","headers":{"Authorization":"Bearer hunter2"}}',
            '{"url":"https://a.example/?access_token=hunter2&x=1","headers":{"cookie":"sid=hunter2"}}',
            '{"url":"https://a.example/","proxy":"socks5://me:hunter2@proxy.example:1080"}',
            '{"url":"https://a.example/","metadata":{"deep":[{"api_key":"hunter2"}]}}',
            '{"url":"https://a.example/","method":"POST","body":"user=x&password=hunter2"}',
            '{"url":"https://a.example/","headers":{"X-Auth-Token":"hunter2","Set-Cookie":"a=hunter2"}}',
            '{"url":"https://a.example/","headers":{"Authorization":"Bearer hunter2"',
            "https://u:hunter2@a.example/path",
            "https://a.example/?password=hunter2",
            "GET / HTTP/1.1\r\nAuthorization: Basic hunter2\r\nCookie: a=hunter2; b=hunter2\r\n",
            "see http://u:hunter2@a.example/ and http://me:hunter2@b.example/",
            '{"note":"call https://u:hunter2@a.example/ please"}',
            "https://u:hunter2/7@a.example/path",
            "https://u:se#hunter2@a.example/",
            '{"url":"https://u:hunter2?7@a.example/"}',
            "curl -H 'Bearer hunter2'",
            "Authorization: Bearer hunter2",
        ],
    )
    def test_no_secret_reaches_the_row(self, original: str) -> None:
        """Credentials of headers, URLs, proxies and named fields are gone, JSON or not (O7)."""
        assert self.SECRET not in redact.original(original.encode())
        record = dead_record(job_state(), original.encode(), message=f"failed for {original}")
        letter = read(record).payload
        assert isinstance(letter, DeadLetter)
        for write in dead_writes(record, job_state(), letter.meta):
            assert self.SECRET not in repr(write)

    def test_a_secret_cut_in_the_middle_is_removed(self) -> None:
        """The text is cut before it is searched, and a value without its end is still a value."""
        text = b'{"pad":"' + b"x" * (redact.MAX_CHARACTERS - 40) + b'","password":"hunter2hunter2hunter2"}'
        assert b"hunter" not in redact.original(text).encode()

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize(
        "piece",
        ["A", "token", "a.", "a-", "?a.", "&", "://", "token:", 'token="', "\\", '{"a":', "key= ", "://a:"],
    )
    def test_garbage_costs_no_more_than_its_length(self, piece: str) -> None:
        """A pattern that goes back and forth would stop the storer for minutes."""
        redact.original(piece.encode() * (16_384 // len(piece)))

    @pytest.mark.parametrize("end", ["", "\\", "\\\n", "\n", '"', "'", ",", "=", "@", "\r"])
    @pytest.mark.parametrize("opening", ["=", '="', "='", '=\\"', "=\\'", '":"'])
    def test_values_without_an_end_cost_no_more_than_their_length(self, opening: str, end: str) -> None:
        """Four times the garbage costs about four times the time; what is quadratic costs sixteen."""

        def seconds(pieces: int) -> float:
            text = f"key{opening}," * pieces + end
            times = []
            for _ in range(3):
                begun = time.process_time()
                redact.scrub(text)
                times.append(time.process_time() - begun)
            return min(times)

        # What takes no time worth measuring is no trouble.
        assert seconds(800) < max(9 * seconds(200), 0.01)

    @pytest.mark.parametrize("end", ["\\", "\\\n", "\\\nnext line"])
    def test_a_value_that_ends_in_a_backslash_is_removed(self, end: str) -> None:
        """It has no end, and is still a value."""
        assert redact.scrub(f'password="hunter2, hunter2{end}') == "password=[removed]"

    @pytest.mark.parametrize(
        "text",
        ['password="abc\\\ntoken="hunter2', "token='abc\nkey='hunter2'", 'pwd="a\nb" hunter2'],
        ids=["escaped", "apostrophes", "plain"],
    )
    def test_a_quoted_value_over_two_lines_takes_all_that_follows(self, text: str) -> None:
        """What looks like its end may begin the next value."""
        assert "hunter2" not in redact.scrub(text)

    def test_what_is_no_secret_stays(self) -> None:
        """The row is for finding out why."""
        original = b'{"url":"https://a.example/x?page=2","id":"42","headers":{"accept":"text/html"},"metadata":{"sku":7}}'
        assert msgspec.json.decode(redact.original(original)) == msgspec.json.decode(original)
        for url in (
            "https://a.example:8080/@user",
            "https://a.example/@user?x=a:b@c",
            "http://[2001:db8::1]/@x",
        ):
            assert redact.url(url) == url
        assert redact.scrub("The site answered 403 three times.") == "The site answered 403 three times."


class TestBatch:
    LIMITS = Limits(rows=3, size=100, age_s=5.0)

    def test_it_is_due_by_rows_bytes_or_age(self) -> None:
        """Whichever comes first."""
        by_rows: Batch[int] = Batch(self.LIMITS)
        assert by_rows.wait_s(0.0) is None
        by_rows.add(Entry((), 1), 0, now=10.0)
        assert by_rows.wait_s(12.0) == 3.0
        assert by_rows.wait_s(15.0) == 0.0
        by_rows.add(Entry((), 1), 1, now=12.0)
        by_rows.add(Entry((), 1), 2, now=12.0)
        assert by_rows.is_full()
        by_size: Batch[int] = Batch(self.LIMITS)
        by_size.add(Entry((), 100), 0, now=0.0)
        assert by_size.wait_s(0.0) == 0.0

    def test_a_token_depends_on_table_identity_and_version_only(self) -> None:
        """Other rows must not have a known token, and the same rows must (O4)."""
        table = Table("t", ())
        one, two = Write(table, (1,), b"a"), Write(table, (2,), b"b")
        assert token("t", [one, two]) == token("t", [Write(table, (9,), b"a"), two])
        assert (
            len({token("t", [one, two]), token("t", [two, one]), token("t", [one]), token("u", [one])}) == 4
        )
        assert token("t", [Write(table, (), b"ab")]) != token(
            "t", [Write(table, (), b"a"), Write(table, (), b"b")]
        )


HREFS = (
    *("/", "/a/b.c?d=/../e", "/a?", "/a;b", "/./a", "/a/../b", "//b.example/c", "/a//b", "/ä b", "/a\tb"),
    *("https://b.example/c?d", "http://b.example"),
    *("a", "a/b?c", "a/./b", "a//b", "./a", "../a", "..", "?a", "a?", "a;b", "x:y", "ä", "a b", "~a/-b"),
)


class TestParser:
    HTML = PageInfo(url="https://a.example/dir/page.html", content_type="text/html; charset=utf-8")

    def parse(self, body: bytes, **info: str | None) -> Parsed:
        """Parse with the default parser."""
        return from_fields(parse_html(body, msgspec.structs.replace(self.HTML, **info)))

    def test_title_text_links_canonical_and_language(self) -> None:
        """What every page gets."""
        body = b"""<html lang="de"><head><title> A
            title </title><link rel="Canonical" href="/c"><script>let x = 1</script></head>
            <body>Hello <b>world</b><script>no</script><style>no</style>
            <a href="x.html#part">1</a><a href="/y">2</a><a href="https://b.example/z">3</a>
            <a href="#top">no</a><a href="mailto:x@y">no</a><a href="../up">4</a>
            <a href="?q=1">5</a></body></html>"""
        parsed = self.parse(body)
        assert parsed.title == "A title"
        assert parsed.language == "de"
        assert parsed.canonical == "https://a.example/c"
        assert parsed.link_count == 5
        assert parsed.links == (
            "https://a.example/dir/x.html",
            "https://a.example/y",
            "https://b.example/z",
            "https://a.example/up",
            "https://a.example/dir/page.html?q=1",
        )
        assert parsed.text_length == len("Hello world 1 2 3 no no 4 5")
        assert msgspec.json.decode(parsed.fields)["title"] == "A title"

    def test_a_base_element_moves_the_links(self) -> None:
        """Relative links count from it."""
        parsed = self.parse(b'<base href="https://cdn.example/q/"><a href="x">1</a>')
        assert parsed.links == ("https://cdn.example/q/x",)

    @pytest.mark.parametrize("base", ["http://[", "http://" + "a" * 8_180 + "@[::1]/", "", "mailto:x"])
    def test_a_base_element_that_is_no_address_costs_no_page(self, base: str) -> None:
        """Nor any link that is absolute."""
        parsed = self.parse(f'<base href="{base}"><a href="https://b.example/c">1</a>'.encode())
        assert parsed.links == ("https://b.example/c",)

    @pytest.mark.parametrize(
        ("body", "charset"),
        [
            ("<title>Größe</title>".encode("latin-1"), "iso-8859-1"),
            ("<title>Größe</title>".encode(), None),
            ('<meta charset="windows-1252"><title>Größe</title>'.encode("cp1252"), None),
            ("\ufeff<title>Größe</title>".encode("utf-16-le"), None),
            ("<title>Größe</title>".encode(), "no-such-charset"),
        ],
    )
    def test_characters_are_read_by_mark_header_or_meta(self, body: bytes, charset: str | None) -> None:
        """In that order, as browsers do; a wrong name is forgiven."""
        assert self.parse(body, charset=charset).title == "Größe"

    @pytest.mark.parametrize("kind", ["image/png", "application/pdf", "application/json", "text/plain"])
    def test_what_is_not_html_has_no_fields(self, kind: str) -> None:
        """And is no error."""
        assert self.parse(b"<title>x</title>", content_type=kind) == Parsed()

    @pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe" * 50, b"<" * 5000, b"<html>"])
    def test_garbage_is_parsed_without_an_error(self, body: bytes) -> None:
        """Pages are what they are."""
        assert isinstance(self.parse(body), Parsed)

    @pytest.mark.parametrize("href", HREFS)
    def test_a_link_is_joined_as_the_standard_says(self, href: str) -> None:
        """Also where a shorter way is taken."""
        joined = urljoin(self.HTML.url, href)
        for hrefs in ((href, href + "#part"), ("b", href, "/plain"), ("/plain?#part", href)):
            links = "".join(f'<a href="{each}">x</a>' for each in hrefs)
            canonical = f'<link rel="canonical" href="{href}">'
            parsed = self.parse(f'<meta charset="utf-8">{canonical}{links}'.encode())
            expected = [urljoin(self.HTML.url, each.partition("#")[0]) for each in hrefs]
            assert parsed.links == tuple(dict.fromkeys(expected))
            assert parsed.canonical == joined

    def test_links_are_bounded(self) -> None:
        """Ten thousand links make a count and a hundred links."""
        parsed = self.parse(b"".join(b'<a href="/%d">x</a>' % i for i in range(10_000)))
        assert (parsed.link_count, len(parsed.links)) == (10_000, MAX_LINKS)

    def test_a_parsers_own_fields_stay_in_the_json(self) -> None:
        """A field with a column's name but not its type does not reach the column."""
        parsed = from_fields({"price": 3.5, "title": 7, "links": ["https://a.example/"]})
        assert parsed.title == ""
        assert parsed.links == ("https://a.example/",)
        assert msgspec.json.decode(parsed.fields) == {"price": 3.5, "title": 7}


class TestSchema:
    def test_migrations_are_numbered_from_one(self) -> None:
        """A gap or a double would be applied in an order that nobody chose."""
        assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))

    def test_a_cluster_makes_every_statement_replicated(self) -> None:
        """One text serves a single server and replicas."""
        for migration in migrations():
            for statement in migration.statements("main"):
                assert "ON CLUSTER 'main'" in statement
                assert "ENGINE" not in statement or "ENGINE = ReplicatedReplacingMergeTree" in statement
            for statement in migration.statements(None):
                assert "CLUSTER" not in statement
                assert "Replicated" not in statement

    def test_a_cluster_name_cannot_carry_sql(self) -> None:
        """It goes into statements as text."""
        with pytest.raises(ConfigurationError):
            statements("{on_cluster};", "x' --")

    def test_outcomes_must_outlive_what_they_judge(self) -> None:
        """A shorter memory would let a dead letter win over a page that expired (O1)."""
        base = {"TIDEGATE_STORER__TTL_DAYS": "30", "TIDEGATE_STORER__TTL_DEAD_LETTERS_DAYS": "30"}
        load(Settings, {**base, "TIDEGATE_STORER__TTL_OUTCOMES_DAYS": "60"})
        with pytest.raises(ConfigurationError, match="at least twice"):
            load(Settings, {**base, "TIDEGATE_STORER__TTL_OUTCOMES_DAYS": "59"})
        with pytest.raises(ConfigurationError, match="at least twice"):
            load(Settings, {"TIDEGATE_STORER__TTL_DAYS": "0", "TIDEGATE_STORER__TTL_OUTCOMES_DAYS": "60"})

    def test_an_empty_time_to_live_leaves_the_table_alone(self) -> None:
        """As an empty line in a file of variables hands it on."""
        loaded = load(Settings, {"TIDEGATE_STORER__TTL_DAYS": "", "TIDEGATE_STORER__TTL_SOLVES_DAYS": " "})
        assert loaded.storer.ttl_days is None
        assert loaded.storer.ttl_solves_days is None

    @pytest.mark.parametrize("code", [241, 252, 159, 60, 16, 0, 32, 33, 210, 516])
    def test_an_outage_is_not_a_data_error(self, code: int) -> None:
        """Memory, too many parts, time-outs, missing tables and connections hold the storer back (O5)."""
        assert not is_data_error(code)

    def test_a_bodys_month_is_that_of_its_job(self) -> None:
        """A replay keeps the time of acceptance, so partition and retention are the job's (O6)."""
        page = read(page_record(job_state())).payload
        assert isinstance(page, Page)
        body = body_write(job_state(accepted_at_ms=EPOCH_MS), page.meta, b"x")
        assert value_of(body, "accepted_at") == EPOCH_MS
