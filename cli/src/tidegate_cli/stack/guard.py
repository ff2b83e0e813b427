"""No orphans: a guard that outlives its supervisor by the time it takes to end the children.

A supervisor may be killed where no handler of its own can run (SIGKILL, the memory killer, a crash). Then
its children must go. Two mechanisms were weighed:

- ``PR_SET_PDEATHSIG`` is Linux only, ends only the child itself and not what it started (the storer's
  parser processes), fires when the *thread* that forked ends, and must be set between fork and exec:
  by ``preexec_fn``, unsafe beside threads, or a wrapper that costs an interpreter's start per child.
- A pipe: the guard holds the reading end, the supervisor the only writing end. The kernel closes the
  writing end however the supervisor ends, the guard reads end-of-file, and ends what is left.

The pipe it is, one guard for the whole stack. What is left it finds by a random token that the supervisor
puts into the environment of each child and that every descendant inherits, whatever process group or
session it made for itself, and also when the supervisor died between fork and the next line of its own
code. SIGTERM first, SIGKILL after a grace. The guard is in a session of its own, so that Ctrl-C does not
reach it, and it inherits the data folder's lock, so that a new stack starts on the folder only when the
last process of the old one is gone. After a clean stop it looks just the same: what a child started in a
session of its own is nobody else's to end.

Run as a script (``python guard.py TOKEN``, standard input the pipe): it imports nothing of Tidegate.
"""

import contextlib
import os
import sys
import time

import psutil

VARIABLE = "STACK_TOKEN"
GRACE_S = 3.0
_POLL_S = 0.05


def descendants(token: str) -> list[psutil.Process]:
    """Return the processes, this one aside, whose environment carries the token."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(VARIABLE) == token:
                found.append(process)
    return found


def sweep(token: str, grace_s: float = GRACE_S) -> None:
    """End every process that carries the token.

    It looks again until nothing is found twice running: a process may be starting another meanwhile.
    """
    signal_all(descendants(token), kill=False)
    deadline = time.monotonic() + grace_s  # noqa: TID251 -- a script of its own, without a clock to be given
    empty = 0
    while empty < 2:
        remaining = descendants(token)  # a zombie has no environment, so it is not among them
        empty = 0 if remaining else empty + 1
        if remaining and time.monotonic() > deadline:  # noqa: TID251 -- as above
            signal_all(remaining, kill=True)
        time.sleep(_POLL_S)


def signal_all(processes: list[psutil.Process], *, kill: bool) -> None:
    """Send SIGTERM, or SIGKILL, to processes that may be gone already."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            (process.kill if kill else process.terminate)()


def main() -> int:
    """Wait for the supervisor's end, or for its word that it is done; end what is left."""
    sys.stdin.buffer.read()
    sweep(sys.argv[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
