"""Start the simulator and the demo site as processes, as the embedded stack does."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen


@contextmanager
def process(module: str, *arguments: str) -> Iterator[str]:
    """Run ``python -m module``; yield its base URL once it says its port; end it and expect a clean exit."""
    command = [sys.executable, "-m", module, "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            line = running.stdout.readline()
            yield f"http://127.0.0.1:{json.loads(line)['port']}"
        finally:
            running.terminate()
        assert running.wait(timeout=60) == 0


def get_json(url: str) -> Any:
    """Return what a URL answers as JSON."""
    with urlopen(url, timeout=60) as response:
        return json.load(response)


def post_json(url: str, value: Any) -> Any:
    """Post JSON and return the JSON answer of a 200."""
    request = Request(url, json.dumps(value).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as response:
        return json.load(response)
