"""Arguments, files and limits."""

from pathlib import Path

import pytest
from tidegate.errors import ConfigurationError
from tidegate_cli.crawl import source as source_module
from tidegate_cli.crawl.limits import MAX_BYTES, MAX_JOBS, exceeds, refuse_beyond, too_full
from tidegate_cli.crawl.source import Size, Source, measure, read_lines, sources_of, spool


def _places(*sources: Source) -> list[tuple[str, bytes]]:
    return [(line.place, line.data.strip()) for line in read_lines(sources)]


def test_arguments_are_files_where_they_exist_and_urls_where_they_look_like_them(tmp_path: Path) -> None:
    """What can be opened is a file; what has a scheme is a URL, whatever the scheme."""
    file = tmp_path / "urls.txt"
    file.write_text("https://a.example/\n")
    sources = sources_of([str(file), "https://b.example/", "file:/etc/passwd", "-"])
    assert [source.path is None for source in sources] == [False, True, True, False]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Nothing to crawl"),
        (["missing.txt"], "https://missing.txt"),
        (["-", "-"], "once only"),
        (["/"], "is a folder"),
        (["x" * 5000], "no such file"),
    ],
)
def test_an_argument_that_is_nothing_is_refused_with_advice(arguments: list[str], said: str) -> None:
    """A typing error never becomes a crawl."""
    with pytest.raises(ConfigurationError, match=said):
        sources_of(arguments)


def test_lines_know_where_they_stand(tmp_path: Path) -> None:
    """A last line without an end counts, and each file has numbers of its own."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"one\r\n\ntwo")
    second.write_bytes(b"three\n")
    got = _places(Source("a", first), Source("b", second), Source("https://x.example/", None))
    assert got == [
        ("a:1", b"one"),
        ("a:2", b""),
        ("a:3", b"two"),
        ("b:1", b"three"),
        ("argument:1", b"https://x.example/"),
    ]


def test_a_line_that_is_too_long_is_cut_and_the_next_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its length is that of the whole line."""
    monkeypatch.setattr(source_module, "MAX_LINE_BYTES", 8)
    file = tmp_path / "a"
    file.write_bytes(b"0123456789abcdef\nnext\n01234567\nlast")
    lines = list(read_lines([Source("a", file)]))
    assert [(line.data, line.length) for line in lines] == [
        (b"01234567", 17),
        (b"next\n", 5),
        (b"01234567", 9),
        (b"last", 4),
    ]


def test_measuring_counts_jobs_not_lines(tmp_path: Path) -> None:
    """Comments and blank lines weigh nothing."""
    file = tmp_path / "a"
    file.write_bytes(b"# no\n\nhttps://a.example/\n")
    assert measure([Source("a", file)], lambda _: False) == Size(1, 19)


def test_measuring_stops_where_it_is_enough(tmp_path: Path) -> None:
    """A file of a billion lines is refused at once."""
    file = tmp_path / "a"
    file.write_bytes(b"x\n" * 5000)
    assert measure([Source("a", file)], lambda size: size.jobs > 1000).jobs == 1024


@pytest.mark.parametrize(
    ("size", "refused"),
    [
        (Size(MAX_JOBS, MAX_BYTES), False),
        (Size(MAX_JOBS + 1, 0), True),
        (Size(1, MAX_BYTES + 1), True),
    ],
)
def test_a_crawl_beyond_the_embedded_broker_is_refused_with_the_way_on(size: Size, *, refused: bool) -> None:
    """The stated size itself is still taken."""
    assert exceeds(size) is refused
    if refused:
        with pytest.raises(ConfigurationError, match="--broker kafka"):
            refuse_beyond(size)
    else:
        refuse_beyond(size)


def test_an_embedded_broker_that_fills_the_machine_ends_the_crawl_in_time() -> None:
    """Pages cannot be counted beforehand; half of the memory is the limit, and 8 GB."""
    assert too_full(3 << 30, 16 << 30) is None
    assert "real broker" in (too_full(5 << 30, 8 << 30) or "")
    assert "8.0 GB" in (too_full(9 << 30, 64 << 30) or "")


def test_a_pipe_is_kept_on_disk_and_a_file_left_where_it_is(tmp_path: Path) -> None:
    """What can be read only once is measured from its copy."""
    file = tmp_path / "a"
    file.write_bytes(b"https://a.example/\n")
    url = Source("https://x.example/", None)
    assert spool([Source("a", file), url], tmp_path) == (Source("a", file), url)
