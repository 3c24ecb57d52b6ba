"""Promote and rollback write the pin; the alias follows it, and git keeps its history."""

import shutil
from pathlib import Path

import mlflow
import pytest

from pipeline.errors import HistoryShallow, RegistryUnavailable, VersionDamaged
from pipeline.files import write
from pipeline.project.run import pin_unless_withdrawn
from pipeline.project.run_summary import alias_status
from pipeline.registry import pin_history
from pipeline.registry.chain_of_custody import chain_links
from pipeline.registry.mlflow_registry import RegisteredVersion, Registry
from pipeline.registry.promotion import allow, promote, rollback, was_withdrawn
from pipeline.registry.registration import ensure_registered
from serving.artifact.pin import Pin
from serving.errors import PinInvalid, PinMissing
from tests.pipeline.candidate_bundle import LAYOUT, write_candidate
from tests.pipeline.projects import Project
from tests.serving.registries import flipped_byte


def registered(registry: Registry, steepness: float) -> RegisteredVersion:
    write_candidate(steepness)
    return ensure_registered(LAYOUT, registry)


def champion(registry: Registry) -> int:
    version = registry.champion("tiny")
    assert version is not None
    return version.number


def test_promotion_pins_and_the_alias_follows(project: Project, registry: Registry) -> None:
    for number, steepness in ((1, 4.0), (2, 5.0)):
        version = registered(registry, steepness)
        pin = promote(LAYOUT, registry, version)
        assert pin == Pin.read(LAYOUT.pin) == Pin("tiny", number, version.digest)
        assert champion(registry) == number


def test_a_pin_of_format_1_goes_on_holding(project: Project, registry: Registry) -> None:
    old = write_candidate(bundle_format=1)
    promote(LAYOUT, registry, ensure_registered(LAYOUT, registry))
    # What `verify` and `trace` check; the links before these start DVC.
    links = {link.name: link for link in chain_links(LAYOUT, lambda: registry)}
    for name in ("bundle", "registry", "pin"):
        assert links[name].verify()
    new = write_candidate(bundle_format=2)
    assert new.digest != old.digest
    promote(LAYOUT, registry, ensure_registered(LAYOUT, registry))
    project.commit("promote format 2")
    assert Pin.read(LAYOUT.pin).digest == new.digest


def test_rollback_returns_to_what_was_pinned_before(project: Project, registry: Registry) -> None:
    for steepness in (4.0, 5.0):
        promote(LAYOUT, registry, registered(registry, steepness))
        project.commit(f"promote {steepness}")
    assert rollback(LAYOUT, registry).version == 1
    assert champion(registry) == 1


@pytest.mark.parametrize("committed", [True, False])
def test_a_second_rollback_goes_further_back(project: Project, registry: Registry, committed: bool) -> None:
    for steepness in (4.0, 5.0, 6.0):
        promote(LAYOUT, registry, registered(registry, steepness))
        project.commit(f"promote {steepness}")
    for expected in (2, 1):
        assert rollback(LAYOUT, registry).version == expected
        if committed:
            project.commit(f"back to {expected}")
    with pytest.raises(PinMissing, match=r"no earlier pin .* than version 1, except .* withdrawn"):
        rollback(LAYOUT, registry)
    assert champion(registry) == Pin.read(LAYOUT.pin).version == 1
    # Rollback after an explicit promotion returns to the pin before it, as recorded in git.
    promote(LAYOUT, registry, registry.get_by_number("tiny", 3))
    project.commit("three after all")
    assert rollback(LAYOUT, registry).version == (1 if committed else 2)


def test_a_branch_whose_rollback_was_merged_is_remembered(project: Project, registry: Registry) -> None:
    versions = [registered(registry, steepness) for steepness in (4.0, 5.0)]
    promote(LAYOUT, registry, versions[0])
    project.commit("first")
    project.succeed("git", "switch", "-q", "-c", "feature")
    project.commit("something else")
    project.succeed("git", "switch", "-q", "main")
    promote(LAYOUT, registry, versions[1])
    project.commit("second")
    rollback(LAYOUT, registry)
    project.commit("back")
    project.succeed("git", "switch", "-q", "feature")
    project.succeed("git", "merge", "-q", "--no-edit", "main")
    # On this branch the pin never changed; git omits the other branch without --full-history.
    assert was_withdrawn(LAYOUT, versions[1])


def test_a_shallow_clone_pins_nothing_that_may_be_withdrawn(
    project: Project,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    versions = [registered(registry, steepness) for steepness in (4.0, 5.0)]
    for version in versions:
        promote(LAYOUT, registry, version)
        project.commit(f"promote {version.number}")
    rollback(LAYOUT, registry)
    project.commit("back")
    project.succeed("git", "clone", "-q", "--depth", "1", f"file://{project.root}", str(tmp_path / "shallow"))
    clone = Project(tmp_path / "shallow", project.environment)
    monkeypatch.chdir(clone.root)
    before = LAYOUT.pin.read_bytes()
    assert not was_withdrawn(LAYOUT, versions[0])
    for attempt in (lambda: was_withdrawn(LAYOUT, versions[1]), lambda: rollback(LAYOUT, registry)):
        with pytest.raises(HistoryShallow, match=r"shallow clone.*`git fetch --unshallow`"):
            attempt()
    # `run` keeps pin and alias, and prints the reason.
    pin, said = pin_unless_withdrawn(LAYOUT, registry, versions[1]), capsys.readouterr().out
    assert (pin.version, champion(registry), LAYOUT.pin.read_bytes()) == (1, 1, before)
    assert "pins/tiny.json stays as it is" in said
    assert "git fetch --unshallow" in said
    clone.succeed("git", "fetch", "-q", "--unshallow")
    assert was_withdrawn(LAYOUT, versions[1])


def test_a_repository_without_commits_has_no_history(project: Project, registry: Registry) -> None:
    shutil.rmtree(project.root / ".git")
    project.succeed("git", "init", "-q")
    promote(LAYOUT, registry, registered(registry, 4.0))
    assert pin_history.history(LAYOUT.pin) == []
    assert not was_withdrawn(LAYOUT, registered(registry, 5.0))


def test_the_summary_says_what_the_alias_is(project: Project, registry: Registry) -> None:
    versions = [registered(registry, steepness) for steepness in (4.0, 5.0)]
    pin = promote(LAYOUT, registry, versions[0])
    assert alias_status(registry, pin) == "alias champion"
    registry.set_alias(versions[1], "champion")
    assert "the alias champion is version 2: `python -m pipeline repair tiny`" in alias_status(registry, pin)
    unknown = Pin("tiny", 7, "0" * 64)
    assert alias_status(registry, unknown) == "which is not in this registry; its alias champion is version 2"
    registry.client.delete_registered_model_alias("tiny", "champion")
    assert "the alias champion is nothing" in alias_status(registry, pin)
    assert alias_status(registry, unknown) == "which is not in this registry; no alias champion"


def test_rollback_undoes_a_promotion_that_is_not_committed(project: Project, registry: Registry) -> None:
    promote(LAYOUT, registry, registered(registry, 4.0))
    project.commit("first")
    promote(LAYOUT, registry, registered(registry, 5.0))
    assert rollback(LAYOUT, registry).version == 1
    assert project.changes() == ""


def test_history_is_that_of_git(project: Project, registry: Registry) -> None:
    for steepness in (4.0, 5.0):
        promote(LAYOUT, registry, registered(registry, steepness))
        project.commit(f"promote {steepness}")
    entries = pin_history.history(LAYOUT.pin)
    assert [entry.pin.version for entry in entries] == [2, 1]
    assert entries[0].commit == project.succeed("git", "rev-parse", "HEAD").strip()
    assert {entry.author for entry in entries} == {"test@example.org"}


def test_a_pin_from_another_registry_stays(project: Project, registry: Registry) -> None:
    version = registered(registry, 4.0)
    # Another registry assigned version 7 to the same digest.
    write(LAYOUT.pin, Pin("tiny", 7, version.digest).to_bytes())
    assert promote(LAYOUT, registry, version).version == 7
    assert champion(registry) == 1
    assert registry.get_by_digest("tiny", version.digest).accepted_numbers == {1, 7}


def test_a_registry_that_fails_leaves_the_pin(project: Project, registry: Registry) -> None:
    version = registered(registry, 4.0)
    down = Registry("http://127.0.0.1:9", mlflow.MlflowClient("http://127.0.0.1:9"))
    with pytest.raises(RegistryUnavailable):
        promote(LAYOUT, down, version)
    assert not LAYOUT.pin.exists()
    before = promote(LAYOUT, registry, version)
    with pytest.raises(RegistryUnavailable):
        promote(LAYOUT, down, registered(registry, 5.0))
    assert Pin.read(LAYOUT.pin) == before


def test_a_version_that_was_replaced_is_not_pinned_by_chance(project: Project, registry: Registry) -> None:
    versions = [registered(registry, steepness) for steepness in (4.0, 5.0, 6.0)]
    assert not was_withdrawn(LAYOUT, versions[0])
    for version in versions[:2]:
        promote(LAYOUT, registry, version)
        project.commit(f"promote {version.number}")
    rollback(LAYOUT, registry)
    # Only the second version was pinned and replaced; the third one was never pinned.
    assert [was_withdrawn(LAYOUT, version) for version in versions] == [False, True, False]


def test_damaged_files_are_not_pinned(project: Project, registry: Registry) -> None:
    before = promote(LAYOUT, registry, registered(registry, 4.0))
    version = registered(registry, 5.0)
    newest = max(
        project.root.glob("mlartifacts/models/*/artifacts/serving/labels.json"),
        key=lambda path: path.stat().st_mtime,
    )
    with flipped_byte(newest), pytest.raises(VersionDamaged, match=r"models:/tiny/2.*labels\.json"):
        promote(LAYOUT, registry, version)
    assert Pin.read(LAYOUT.pin) == before


def test_an_old_bad_edit_does_not_keep_from_going_back(project: Project, registry: Registry) -> None:
    promote(LAYOUT, registry, registered(registry, 4.0))
    project.commit("good")
    LAYOUT.pin.write_text("{}")
    project.commit("edited by hand")
    promote_again = registered(registry, 5.0)
    LAYOUT.pin.unlink()
    promote(LAYOUT, registry, promote_again)
    assert rollback(LAYOUT, registry).version == 1


def test_without_a_pin_there_is_nothing_to_go_back_to(project: Project, registry: Registry) -> None:
    with pytest.raises(PinMissing, match="nothing is pinned"):
        rollback(LAYOUT, registry)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"name": "tiny"}',
        b'{\n "digest": "abc",\n "name": "tiny",\n "version": 1\n}\n',
        b'{\n "digest": "' + b"a" * 64 + b'",\n "name": "other",\n "version": 1\n}\n',
        b'{"digest": "' + b"a" * 64 + b'", "name": "tiny", "version": 1}',
    ],
)
def test_a_pin_that_promote_did_not_write_is_refused(project: Project, data: bytes) -> None:
    LAYOUT.pin.parent.mkdir()
    LAYOUT.pin.write_bytes(data)
    with pytest.raises(PinInvalid, match=r"pins/tiny\.json"):
        Pin.read(LAYOUT.pin)


def test_further_versions_may_be_allowed(project: Project, registry: Registry) -> None:
    pinned, other = (registered(registry, steepness) for steepness in (4.0, 5.0))
    before = promote(LAYOUT, registry, pinned)
    assert allow(LAYOUT, registry, pinned) == before
    for _ in range(2):
        assert allow(LAYOUT, registry, other) == Pin.read(LAYOUT.pin)
    pin = Pin.read(LAYOUT.pin)
    assert (pin.identity, pin.allowed) == (before.identity, (other.digest,))
    assert champion(registry) == pinned.number
    # What becomes the pinned version allows itself alone.
    assert promote(LAYOUT, registry, other).allowed == ()
