"""A rolling update of pods that run command, environment, user, probes and grace period of the manifest."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.deploy.kubernetes.conftest import MakePod, Version
from tests.deploy.kubernetes.pods import Pod
from tests.deploy.kubernetes.rendered import find
from tests.deploy.kubernetes.rollout import LAG_SECONDS, Service, Traffic, requests_to, roll_out


@dataclass(frozen=True)
class Update:
    """What clients got, the pods of the first version, which have ended, and those of the second."""

    traffic: Traffic
    replaced: list[Pod]
    pods: list[Pod]


def update(make_pod: MakePod, versions: tuple[Version, Version], **changed: str) -> Update:
    """Rolls out the second version while clients send requests."""
    first, second = versions
    one = make_pod(first, changed=changed)
    replicas = find(one.objects, "HorizontalPodAutoscaler")["spec"]["minReplicas"]
    service = Service([one, *(make_pod(first, changed=changed) for _ in range(replicas - 1))])
    for pod in service.pods:
        pod.start()
    for pod in service.pods:
        pod.await_ready()
    with requests_to(service) as traffic:
        deployment = find(one.objects, "Deployment")
        replaced = roll_out(service, deployment, lambda: make_pod(second, changed=changed))
        for pod in replaced:
            pod.await_end()
    return Update(traffic, replaced, [pod for pod in service.pods if pod not in replaced])


@pytest.fixture(scope="module")
def updated(make_pod: MakePod, versions: tuple[Version, Version]) -> Update:
    """An update with the settings of the manifest."""
    return update(make_pod, versions)


def test_an_update_loses_no_request(updated: Update, versions: tuple[Version, Version]) -> None:
    traffic = updated.traffic
    assert traffic.lost == []
    assert traffic.answers.keys() == {version.pin.digest for version in versions}
    assert min(traffic.answers.values()) > 200
    assert sum(traffic.answers.values()) > 2000
    assert traffic.fewest >= len(updated.pods) == 2


def test_pods_end_by_themselves_within_their_grace_period(updated: Update) -> None:
    for pod in updated.replaced:
        assert pod.code == 0, pod.log()
        # Otherwise clients that learn late of the end would not be tested.
        assert float(pod.settings()["GOLDFISH_DRAIN"]) > LAG_SECONDS


# Slow: another update. It shows that the one above could lose requests.
@pytest.mark.slow
def test_without_a_drain_window_the_same_update_loses_requests(
    make_pod: MakePod, versions: tuple[Version, Version]
) -> None:
    assert update(make_pod, versions, GOLDFISH_DRAIN="0").traffic.lost


def test_pods_run_as_the_image_and_the_manifest_say(updated: Update) -> None:
    pod = updated.pods[0]
    assert pod.user() == pod.image.user
    assert pod.command()[1:] == ["-m", "serving"]
    process = psutil.Process(pod.process.pid)
    for each in (process, *process.children(recursive=True)):
        if os.geteuid() == 0:
            assert f"{each.uids().effective}:{each.gids().effective}" == pod.user()
    assert pod.succeeds(pod.container["livenessProbe"])


def test_metrics_are_on_their_own_port_only(updated: Update) -> None:
    pod = updated.pods[0]
    assert pod.get("/metrics")[0] == 404
    status, text = pod.get("/metrics", pod.metrics_port)
    assert status == 200
    assert b"\ngoldfish_ready 1.0\n" in text


def files(pod: Pod) -> set[Path]:
    """All that is in a pod's root but its log."""
    return set(pod.folder.rglob("*")) - {pod.folder / "log"}


def test_pods_write_nothing(updated: Update) -> None:
    for pod in (*updated.replaced, *updated.pods):
        assert files(pod) == pod.given


def test_a_pod_whose_image_has_another_bundle_than_the_pin_does_not_get_ready(
    make_pod: MakePod, versions: tuple[Version, Version]
) -> None:
    first, second = versions
    pod = make_pod(first, second.pins).start()
    assert pod.ended.wait(30)
    assert (pod.ready, pod.code) == (False, 1)
    assert "bundle/manifest.json is not what" in pod.log()
    assert "and pulling it failed" in pod.log()
