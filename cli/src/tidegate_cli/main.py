"""The ``tidegate`` command: its sub-commands and nothing else."""

import sys

import typer

from tidegate_cli.commands import (
    budget,
    clickhouse,
    crawl,
    demo,
    detect,
    dlq,
    doctor,
    export,
    job,
    kafka,
    migrate,
    policy,
    simulator,
    size,
    sql,
    status,
    submit,
    top,
    topics,
    up,
)
from tidegate_cli.commands import run as run_
from tidegate_cli.exits import legend

app = typer.Typer(
    name="tidegate",
    help="A scraping pipeline that solves the CAPTCHAs it meets and never loses a URL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would cost half a second
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo", epilog=legend())(demo.demo)
app.command("crawl", epilog=legend())(crawl.crawl)
app.command("up")(up.up)
app.command("submit")(submit.submit)
app.command("status")(status.status)
app.command("top")(top.top)
app.command("sql")(sql.sql)
app.command("export")(export.export)
app.command("job")(job.job)
app.command("detect")(detect.detect)
app.add_typer(policy.app, name="policy")
app.command("doctor")(doctor.doctor)
app.add_typer(run_.app, name="run")
app.command("runs")(run_.runs)
app.add_typer(budget.app, name="budget")
app.add_typer(dlq.app, name="dlq")
app.add_typer(topics.app, name="topics")
app.command("migrate")(migrate.migrate)
app.command("kafka")(kafka.kafka)
app.command("clickhouse")(clickhouse.clickhouse)
app.command("simulator")(simulator.simulator)
app.command("size")(size.size)


def run() -> None:
    """Run the command line; the console script ``tidegate``."""
    app(sys.argv[1:], prog_name="tidegate")
