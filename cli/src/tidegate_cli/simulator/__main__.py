"""``python -m tidegate_cli.simulator``: run the simulated solving service until it is told to stop."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tidegate.clock import SystemClock, seeded_random

from tidegate_cli.listener import Listener, run
from tidegate_cli.simulator.charges import MICROS, Accounts, Charge, ChargeLog
from tidegate_cli.simulator.desk import Desk
from tidegate_cli.simulator.server import SimulatorServer
from tidegate_cli.simulator.service import SolvingService


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tidegate_cli.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--seed", type=int, default=None, help="seed of ids, tokens and latencies")
    parser.add_argument("--latency-ms", type=float, default=200.0, help="mean time to solve, in milliseconds")
    parser.add_argument(
        "--balance", type=float, default=1_000.0, help="opening balance of any key, in dollars"
    )
    parser.add_argument("--key", action="append", default=[], help="accept only this key; may be repeated")
    parser.add_argument("--data", type=Path, default=None, help="folder for charges.jsonl")
    return parser.parse_args()


def read_charges(path: Path) -> tuple[Charge, ...]:
    """Read a log of charges; a last line that was cut short by a crash is left out."""
    if not path.exists():
        return ()
    decoder = msgspec.json.Decoder(Charge)
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return tuple(decoder.decode(line) for line in whole.splitlines() if line)


@contextmanager
def _charge_log(folder: Path | None) -> Iterator[ChargeLog]:
    if folder is None:
        yield ChargeLog()
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "charges.jsonl"
    earlier = read_charges(path)
    encoder = msgspec.json.Encoder()
    path.write_bytes(b"".join(encoder.encode(row) + b"\n" for row in earlier))
    with path.open("ab", buffering=0) as file:

        def write(charge: Charge) -> None:
            file.write(encoder.encode(charge) + b"\n")

        yield ChargeLog(earlier, write)


async def _serve(arguments: argparse.Namespace) -> None:
    clock = SystemClock()
    accounts = Accounts(round(arguments.balance * MICROS))
    for key in arguments.key:
        accounts.configure(key, round(arguments.balance * MICROS))
    with _charge_log(arguments.data) as charges:
        service = SolvingService(
            random=seeded_random(arguments.seed),
            charges=charges,
            accounts=accounts,
            latency_ms=arguments.latency_ms,
            epoch_ms=clock.wall_ms() - clock.monotonic() * 1000,
        )
        listener = Listener(arguments.host, arguments.port, clock)
        server = SimulatorServer(Desk(service), clock, listener.refuse_for)
        await listener.run(server.handle)


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    arguments = _arguments()
    run(_serve(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
