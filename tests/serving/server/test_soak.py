"""Mixed good and hostile requests leave the server as it was."""

from pathlib import Path

import pytest

from benchmarks.soak import DEADLINE, REQUESTS, WARM_UP, measure
from tests.serving.servers import publish, running

# PSS goes up and down by 10 MB; a leak of 1 kB in each of an hour's requests would add 30.
GROWTH_MB = 15


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param(REQUESTS // 15, id="minutes"),
        # Slow: it takes 70 to 100 s. A small leak shows after this many requests only.
        pytest.param(REQUESTS, id="an hour", marks=pytest.mark.slow),
    ],
)
def test_mixed_requests_leave_the_server_as_it_was(tmp_path: Path, requests: int) -> None:
    with running(publish(tmp_path), head_seconds=DEADLINE, body_seconds=DEADLINE) as server:
        results = measure(server, requests)
        assert results["wrong"] == []
        assert results["requests"] >= 0.99 * (1 - WARM_UP) * requests
        assert set(results["statuses"]) <= {"200", "400", "404", "405", "413", "415", "422", "503"}
        assert results["pss_after"] - results["pss_before"] <= GROWTH_MB
        assert [line for line in server.log() if line["level"] in ("error", "critical")] == []
