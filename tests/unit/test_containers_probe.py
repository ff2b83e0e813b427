"""What the health command of the images makes of its environment."""

import pytest
from tidegate.probe import main


@pytest.mark.parametrize("port", [None, "0", "", "x", "-1"])
def test_a_process_without_a_health_server_is_not_healthy(port: str | None) -> None:
    """No port means that there is nobody to ask; the answer is no and not an error."""
    assert main({} if port is None else {"TIDEGATE_HEALTH__PORT": port}) == 1
