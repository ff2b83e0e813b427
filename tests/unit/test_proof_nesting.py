"""Pages that nest deeper than browsers let them are parsed all the same, and at once."""

from tidegate_storer.nesting import MAX_DEPTH, flattened
from tidegate_storer.parsers import PageInfo, parse_html

PAGE = PageInfo(url="https://shop.example/a/", content_type="text/html; charset=utf-8")


def test_a_page_of_honest_depth_is_left_as_it_is() -> None:
    """However many blocks stand side by side, and whatever ends authors leave out."""
    honest = b"<main>" + b"<div><p>x<section>y</section></div><li>z" * 3_000 + b"</main>"
    assert flattened(honest) is honest
    few = b"<div>" * 3_000
    assert flattened(few) is few


def test_blocks_beyond_the_depth_of_browsers_lose_their_tags_and_keep_their_content() -> None:
    """The block that closes at the limit is the one that began there."""
    inner = b"<DIV class=a>text <a href=x>link</a></DIV\n>"
    deep = b"<div>" * 5_000 + inner + b"</div>" * 5_000 + b"<div>after</div>"
    flat = flattened(deep)
    assert flat.lower().count(b"<div") == MAX_DEPTH + 1
    assert flat.count(b"</div") == MAX_DEPTH + 1
    assert b"text <a href=x>link</a>" in flat
    assert flat.endswith(b"<div>after</div>")


def test_a_page_made_to_cost_minutes_is_parsed_at_once() -> None:
    """Its fields are those of any page (C10): this took the parser's whole time, and the job its page."""
    body = b"<title>Deep</title>" + b"<div>" * 20_000 + b"<a href=/x>the end</a>"
    fields = parse_html(body, PAGE)
    assert fields["title"] == "Deep"
    assert fields["links"] == ["https://shop.example/x"]
    assert fields["text_length"] == len("the end")


def test_markup_that_never_ends_a_tag_costs_its_length() -> None:
    """A hundred thousand tags without an end are looked at once."""
    body = b"<div " * 100_000
    assert flattened(body) is body
