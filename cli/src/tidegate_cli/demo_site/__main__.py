"""``python -m tidegate_cli.demo_site``: run the demo site until it is told to stop."""

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
from tidegate.clock import SystemClock, seeded_random
from tidegate.errors import ConfigurationError
from tidegate.records import ChallengeKind

from tidegate_cli.demo_site import extras
from tidegate_cli.demo_site.catalog import BOUND, Catalog
from tidegate_cli.demo_site.challenges import ChallengePages, sitekeys
from tidegate_cli.demo_site.documents import Bodies, Documents, modules
from tidegate_cli.demo_site.folder import Folder
from tidegate_cli.demo_site.forward_proxy import forward_proxy
from tidegate_cli.demo_site.gate import Gate
from tidegate_cli.demo_site.pictures import Pictures
from tidegate_cli.demo_site.site import Site
from tidegate_cli.demo_site.verification import Verifier
from tidegate_cli.listener import Listener, run

_MOST_PAGES = 1_000_000
_RENDERED_PAGES = 400
_MOST_GUARDED = 1_000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tidegate_cli.demo_site", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--simulator", required=True, help="base URL of the solving simulator")
    parser.add_argument(
        "--pages", type=int, help="document pages, 400 or all files; beyond what there is: copies"
    )
    parser.add_argument("--folder", type=Path, help="serve the HTML files below it in place of pydoc's pages")
    parser.add_argument(
        "--protected", type=float, default=0.1, help="share of pages behind a challenge, 0 to 1"
    )
    parser.add_argument(
        "--grace", type=int, default=0, help="further protected pages a verified session may view"
    )
    parser.add_argument(
        "--guarded", type=int, default=0, help="pages behind each challenge beside the common three"
    )
    parser.add_argument(
        "--clearance-s", type=float, help="seconds for which a clearance lasts; each kind's own by default"
    )
    parser.add_argument(
        "--delay-ms", type=float, default=0.0, help="wait before each answer, in milliseconds"
    )
    parser.add_argument(
        "--proxy", metavar="HOST:PORT", help="loopback address of a forward proxy to serve beside the site"
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="list the pages behind a picture, too: their visitors are told that img#captcha is one",
    )
    parser.add_argument("--cache", type=Path, default=None, help="folder for rendered pages")
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of which pages are protected, and of site keys"
    )
    arguments = parser.parse_args()
    if arguments.pages is not None and not 1 <= arguments.pages <= _MOST_PAGES:
        parser.error(f"--pages must be 1 to {_MOST_PAGES}")
    if not 0 <= arguments.guarded <= _MOST_GUARDED:
        parser.error(f"--guarded must be 0 to {_MOST_GUARDED}")
    if arguments.proxy is not None and not arguments.proxy.rpartition(":")[2].isdecimal():
        parser.error("--proxy must be host:port")
    if not 0 <= arguments.protected <= 1:
        parser.error("--protected must be 0 to 1")
    return arguments


async def _serve(arguments: argparse.Namespace) -> None:
    clock = SystemClock()
    documents: Bodies
    if arguments.folder is None:
        names, documents = modules(), Documents(arguments.cache)
        pages = arguments.pages or _RENDERED_PAGES
    else:
        documents = Folder(arguments.folder)
        names = documents.names
        pages = arguments.pages or len(names)
    keys = sitekeys(seeded_random(arguments.seed))
    listener = Listener(arguments.host, arguments.port, clock)
    async with AsyncExitStack() as around, aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        if arguments.proxy is not None:
            host, _, port = arguments.proxy.rpartition(":")
            await around.enter_async_context(forward_proxy(host, int(port)))
        site = Site(
            catalog=Catalog(names, pages, arguments.protected, arguments.seed, arguments.guarded),
            extras=extras.build(names, keys),
            documents=documents,
            # Nonces and sessions come from the system's chance: two runs must not accept each other's.
            gate=Gate(seeded_random(), grace=arguments.grace),
            challenges=ChallengePages(keys),
            verifier=Verifier(session, arguments.simulator, keys),
            clearance_s=arguments.clearance_s,
            clock=clock,
            delay_s=arguments.delay_ms / 1000,
            pictures=Pictures(seeded_random().randbytes(16)),
            unlisted=(
                *(BOUND if arguments.proxy is None else ()),
                *(() if arguments.pictures else (ChallengeKind.IMAGE,)),
            ),
        )
        warming = tasks.create_task(site.warm_up())
        try:
            await listener.run(site.handle)
        finally:
            warming.cancel()
            await documents.close()


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    try:
        run(_serve(_arguments()))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
