"""Fixtures: a bundle in either kind of registry, and the destination of a pull."""

from pathlib import Path

import pytest

from serving.artifact.registry import server as registry_client
from tests.serving.registries import RegisteredBundle


@pytest.fixture(scope="session", params=["database", "registry_server"])
def registered(request: pytest.FixtureRequest) -> RegisteredBundle:
    """A bundle in either kind of registry."""
    found: RegisteredBundle = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts and retry delays of a fraction of a second."""
    monkeypatch.setattr(registry_client, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(registry_client, "RETRY_DELAYS", (0.0, 0.0))


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """The destination of a pull; its parent is empty."""
    (tmp_path / "pulled").mkdir()
    return tmp_path / "pulled/bundle"


@pytest.fixture
def pins(database: RegisteredBundle, tmp_path: Path) -> Path:
    """A folder with the pin of the bundle."""
    (tmp_path / "pins").mkdir()
    (tmp_path / "pins/tiny.json").write_bytes(database.pin.to_bytes())
    return tmp_path / "pins"
