"""An hour's worth of mixed good and hostile requests leaves the server as it was."""

from pathlib import Path

from benchmarks.soak import DEADLINE, REQUESTS, WARM_UP, measure
from tests.serving.servers import publish, running

# It goes up and down by 10 MB; with a leak of 1 kB in each request it would grow by 30.
GROWTH_MB = 15


def test_an_hour_of_requests_leaves_the_server_as_it_was(tmp_path: Path) -> None:
    with running(publish(tmp_path), head_seconds=DEADLINE, body_seconds=DEADLINE) as server:
        results = measure(server)
        assert results["wrong"] == []
        assert results["requests"] >= 0.99 * (1 - WARM_UP) * REQUESTS
        assert set(results["statuses"]) <= {"200", "400", "404", "405", "413", "415", "422", "503"}
        assert results["pss_after"] - results["pss_before"] <= GROWTH_MB
        assert [line for line in server.log() if line["level"] in ("error", "critical")] == []
