"""The vendors' public client libraries work against the simulated service as they are.

So that the simulated service is not tuned to our own client. The libraries live in an environment of their
own (``make clients``), because they pin what we pin otherwise; ``tests/clients/drive.py`` runs there.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.solving_service import solving_service

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".cache" / "clients" / "bin" / "python"
KEY = "0123456789abcdef0123456789abcdef"

TOKENS = {
    "recaptcha_v2": "03AFcWeA",
    "recaptcha_v2_enterprise": "03AFcWeB",
    "recaptcha_v3": "03AFcWeC",
    "hcaptcha": "P1_",
    "turnstile": "0.",
}
# Which kinds each library can ask for; CapSolver's and CaptchaAI's know no hCaptcha.
KINDS = {
    "2captcha-python": set(TOKENS),
    "anticaptchaofficial": {"recaptcha_v2", "recaptcha_v3", "hcaptcha", "turnstile"},
    "capmonstercloudclient": {"recaptcha_v2", "recaptcha_v3", "hcaptcha", "turnstile"},
    "python3-capsolver": {"recaptcha_v2", "recaptcha_v3", "turnstile"},
    "captchaai": {"recaptcha_v2", "recaptcha_v2_enterprise", "recaptcha_v3", "turnstile"},
}
# How each library says what went wrong.
SAID = {
    "2captcha-python": {
        "wrong_key": "ApiException: ERROR_KEY_DOES_NOT_EXIST",
        "zero_balance": "ApiException: ERROR_ZERO_BALANCE",
        "no_kind": "ApiException: ERROR_BAD_PARAMETERS",
        "unsolvable": "ApiException: ERROR_CAPTCHA_UNSOLVABLE",
    },
    "anticaptchaofficial": {
        "wrong_key": "failed: ERROR_KEY_DOES_NOT_EXIST",
        "zero_balance": "failed: ERROR_ZERO_BALANCE",
        "no_kind": "failed: ERROR_TASK_NOT_SUPPORTED",
        "unsolvable": "failed: ERROR_CAPTCHA_UNSOLVABLE",
    },
    "capmonstercloudclient": {
        "wrong_key": "GetTaskError: [ERROR_KEY_DOES_NOT_EXIST]",
        "zero_balance": "GetTaskError: [ERROR_ZERO_BALANCE]",
        "no_kind": "GetTaskError: [ERROR_TASK_NOT_SUPPORTED]",
        "unsolvable": "GetResultError: [ERROR_CAPTCHA_UNSOLVABLE]",
    },
    "python3-capsolver": {
        "wrong_key": "ERROR_KEY_DENIED_ACCESS",
        "zero_balance": "ERROR_ZERO_BALANCE",
        "no_kind": "ERROR_TASK_NOT_SUPPORTED",
        "unsolvable": "ERROR_CAPTCHA_UNSOLVABLE",
    },
    "captchaai": {
        "wrong_key": "InvalidKeyError",
        "zero_balance": "NoThreadsError",
        "no_kind": "ValidationError",
        "unsolvable": "UnsolvableError",
    },
}

Said = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def said() -> Said:
    """What every library said in every scenario; they are all played once."""
    if not PYTHON.exists():
        if os.environ.get("TEST_CLIENTS") == "required":
            pytest.fail("the client libraries are not installed: make clients")
        pytest.skip("the client libraries are not installed: make clients")
    with solving_service("--latency-ms", "20", "--seed", "3", "--key", KEY) as service:
        played = subprocess.run(
            [PYTHON, ROOT / "tests" / "clients" / "drive.py", service.url],
            stdout=subprocess.PIPE,
            check=True,
            timeout=90,
        )
    lines = [json.loads(line) for line in played.stdout.splitlines()]
    return {(line["library"], line["scenario"]): line for line in lines}


@pytest.mark.parametrize(
    ("library", "kind"), [(name, kind) for name, kinds in KINDS.items() for kind in sorted(kinds)]
)
def test_a_library_gets_its_token(said: Said, library: str, kind: str) -> None:
    """Order, polls and answer are those that the vendor's own library, or a public one, expects."""
    line = said[library, kind]
    assert not line["raised"], line["said"]
    assert TOKENS[kind] in json.dumps(line["said"]), line["said"]


@pytest.mark.parametrize(
    ("library", "trouble"), [(name, trouble) for name, troubles in SAID.items() for trouble in troubles]
)
def test_a_library_understands_what_went_wrong(said: Said, library: str, trouble: str) -> None:
    """A wrong key, an empty account, a kind that is not sold, a task that nobody solved."""
    assert SAID[library][trouble] in str(said[library, trouble]["said"])


@pytest.mark.parametrize("library", list(KINDS))
def test_a_library_reads_its_account(said: Said, library: str) -> None:
    """The balance, or the threads of a seller of threads."""
    line = said[library, "balance"]
    assert not line["raised"], line["said"]
    assert ("threads" if library == "captchaai" else "99") in str(line["said"])


def test_reports_are_taken_from_the_libraries_that_give_them(said: Said) -> None:
    """2Captcha's word for good and bad, Anti-Captcha's complaint."""
    assert said["2captcha-python", "good"]["said"]["report"] == "OK_REPORT_RECORDED"
    assert said["2captcha-python", "bad"]["said"]["report"] == "OK_REPORT_RECORDED"
    assert said["anticaptchaofficial", "bad"]["said"]["status"] == "success"


def test_geetest_comes_in_parts(said: Said) -> None:
    """The library hands on the object that res.php puts into its answer."""
    parts = json.loads(said["2captcha-python", "geetest_v3"]["said"]["code"])
    assert set(parts) == {"geetest_challenge", "geetest_validate", "geetest_seccode"}
