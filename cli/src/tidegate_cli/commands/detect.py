"""``tidegate detect``: what stands in the way of a page, why, and what solving it would take."""

from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import AsJson


def detect(
    *,
    source: Annotated[
        str, typer.Argument(metavar="FILE|URL|-", help="A file, a URL to ask for, or - for standard input.")
    ],
    status: Annotated[
        int | None,
        typer.Option(min=100, max=599, help="The answer's status. Default: the URL's own, 200 for a file."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header", "-H", metavar="'NAME: VALUE'", help="A header of the answer; may be repeated."
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the page of a file is from: its links need it.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image-selector", metavar="CSS", help="Where this host shows the picture of an image captcha."
        ),
    ] = None,
    field: Annotated[
        str | None, typer.Option("--image-field", metavar="NAME", help="The field that takes what it says.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at a page as the fetcher would.

    A URL is asked for once, without cookies, by the fetcher's settings (TIDEGATE_FETCHER__ALLOW_PRIVATE for a
    server of your own). Nothing is solved, nothing is paid.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._detect import Asked, detect_main  # noqa: PLC0415 -- see main

        asked = Asked(
            source=source, status=status, headers=tuple(header or ()), url=url, selector=image, field=field
        )
        return await detect_main(asked, as_json=as_json)

    execute(main)
