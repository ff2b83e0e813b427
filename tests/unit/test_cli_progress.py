"""The progress model: complete, stalled, how fast, how often to look."""

from tidegate_cli.crawl.progress import Counts, Patience, Progress, next_poll_s


def test_a_crawl_is_complete_when_all_is_submitted_and_every_job_has_ended() -> None:
    """Outcomes that catch up with a submission that goes on do not end it."""
    progress = Progress(0.0)
    progress.submit(1.0, 2)
    progress.observe(1.0, Counts(pages=1, dead_letters=1))
    assert not progress.complete
    progress.submission_done = True
    progress.submit(2.0, 3)
    progress.observe(2.0, Counts(pages=1, dead_letters=1))
    assert (progress.complete, progress.in_flight) == (False, 1)
    progress.observe(3.0, Counts(pages=2, dead_letters=1))
    assert (progress.complete, progress.in_flight) == (True, 0)


def test_the_time_stops_with_the_last_outcome() -> None:
    """What is waited for afterwards is not the crawl's."""
    progress = Progress(10.0)
    progress.submit(10.0, 1)
    progress.submission_done = True
    progress.observe(14.0, Counts(pages=1))
    progress.observe(20.0, Counts(pages=1))
    assert progress.seconds(30.0) == 4.0


def test_the_first_page_is_remembered() -> None:
    """A dead letter is not a page."""
    progress = Progress(10.0)
    progress.observe(11.0, Counts(dead_letters=1))
    assert progress.first_page_s is None
    progress.observe(12.5, Counts(dead_letters=1, pages=1))
    progress.observe(13.0, Counts(dead_letters=1, pages=9))
    assert progress.first_page_s == 2.5


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    """An old burst is forgotten."""
    progress = Progress(0.0)
    for second in range(1, 61):
        progress.observe(float(second), Counts(pages=1000 if second < 30 else 1000 + (second - 30) * 5))
    assert progress.pages_per_second == 5.0


def test_anything_that_changes_is_movement() -> None:
    """Pages, solves and submissions alike; the same counts again are not."""
    patience = Patience(stall_timeout_s=10.0)
    progress = Progress(0.0)
    progress.observe(9.0, Counts(captchas=1))
    progress.submit(18.0, 5)
    progress.observe(27.0, Counts(captchas=1))
    assert patience.given_up(progress, 27.0) is None
    given_up = patience.given_up(progress, 28.0)
    assert given_up is not None
    assert "Nothing has moved for 10 s" in given_up
    assert "still being submitted" in given_up


def test_a_time_out_is_reached_whatever_moves() -> None:
    """It counts from the start."""
    progress = Progress(0.0)
    progress.submission_done = True
    progress.submit(5.0, 1)
    given_up = Patience(timeout_s=5.0).given_up(progress, 5.0)
    assert given_up is not None
    assert "--timeout" in given_up
    assert Patience(timeout_s=5.1).given_up(progress, 5.0) is None


def test_looking_costs_at_most_a_fifth_of_the_time_and_never_more_than_once_a_second() -> None:
    """Slow queries are asked more seldom; until the first page there is nothing to disturb."""
    assert next_poll_s(0.001, first_page_seen=False) == 0.2
    assert next_poll_s(0.001, first_page_seen=True) == 1.0
    assert next_poll_s(0.5, first_page_seen=True) == 2.0
    assert next_poll_s(60.0, first_page_seen=True) == 15.0
