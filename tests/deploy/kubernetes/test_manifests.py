"""The rendered manifests follow their schemas and the rules of restricted pods, and agree with each other."""

import json
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.config import Settings
from serving.server.gunicorn_app import SHUTDOWN_SECONDS
from serving.server.memory import CGROUP_SHARE, IMAGE_BYTES
from tests.deploy.kubernetes.image import read_image
from tests.deploy.kubernetes.rendered import (
    COMPONENTS,
    KUBERNETES,
    OVERLAYS,
    Document,
    copy_of_the_manifests,
    documents,
    find,
    mebibytes,
    pod_of,
    seconds,
)
from tests.repo.imports import ROOT

PIN = (ROOT / "pins/digits.json").read_bytes()
# Kinds whose schemas kubernetes-validate does not have. Their pods are checked as pods.
FOREIGN = ("serving.kserve.io/", "serving.knative.dev/")
# What their objects have beside the fields of a pod.
NO_POD_FIELDS = {
    "annotations",
    "containerConcurrency",
    "deploymentStrategy",
    "labels",
    "maxReplicas",
    "minReplicas",
    "scaleMetric",
    "scaleTarget",
    "timeoutSeconds",
}
# What Knative allows of a pod without feature flags (serving/pkg/apis/serving/fieldmask.go, August 2026).
KNATIVE_FIELDS = {
    "automountServiceAccountToken",
    "containerConcurrency",
    "containers",
    "enableServiceLinks",
    "imagePullSecrets",
    "serviceAccountName",
    "timeoutSeconds",
    "volumes",
}
KNATIVE_VOLUMES = {"configMap", "emptyDir", "projected", "secret"}
# The ports of Knative's proxy in the same pod.
KNATIVE_PORTS = {8008, 8012, 8013, 8022, 8112, 9090, 9091}
MIB = 2**20


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Document]:
    """The objects of each overlay."""
    return documents(request.param)


@pytest.fixture(scope="module", params=OVERLAYS)
def with_components(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Document]:
    """The objects of each overlay with all components."""
    folder = tmp_path_factory.mktemp("components")
    pins = {"digits.json": PIN, "digits.sig": b"{}"}
    return documents(request.param, copy_of_the_manifests(folder, pins, COMPONENTS))


@pytest.fixture(scope="module")
def plain() -> list[Document]:
    return documents("plain")


def as_pod(objects: list[Document]) -> Document:
    """The pod of an overlay as an object of Kubernetes."""
    spec = {key: value for key, value in pod_of(objects).items() if key not in NO_POD_FIELDS}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "goldfish"}, "spec": spec}


def schema_errors(objects: list[Document], folder: Path) -> str:
    """What kubernetes-validate finds, strictly."""
    known = [each for each in objects if not each["apiVersion"].startswith(FOREIGN)]
    file = folder / "manifests.yaml"
    file.write_text(yaml.safe_dump_all([*known, as_pod(objects)]), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("kubernetes-validate")), "--strict", "--quiet", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (done.stdout + done.stderr == "")
    return done.stdout + done.stderr


def test_the_schemas_of_kubernetes_allow_them(with_components: list[Document], tmp_path: Path) -> None:
    assert schema_errors(with_components, tmp_path) == ""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("containers/0/livenessProbe/period", 5),
        ("containers/0/resources/limits/memory", [1]),
        ("volumes/0/configMap/name", 7),
        ("terminationGracePeriod", 45),
    ],
)
def test_the_schemas_refuse(path: str, value: object, objects: list[Document], tmp_path: Path) -> None:
    broken = deepcopy(objects)
    *parents, last = path.split("/")
    place: Any = pod_of(broken)
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    place[last] = value
    assert last in schema_errors(broken, tmp_path)


def test_pods_are_restricted(with_components: list[Document]) -> None:
    """The profile "restricted" of the Pod Security Standards, no writable file system, and no token."""
    pod = pod_of(with_components)
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"} & set(pod)
    for volume in pod["volumes"]:
        assert set(volume) - {"name"} <= {"configMap", "emptyDir", "secret"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert not any("hostPort" in port for port in container["ports"])
    namespace = find(with_components, "Namespace")["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for each in with_components:
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == namespace["name"]


def test_the_user_is_the_images(objects: list[Document]) -> None:
    context = pod_of(objects)["containers"][0]["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == read_image().user


def test_every_writable_volume_is_bounded(with_components: list[Document]) -> None:
    pod = pod_of(with_components)
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    for volume in pod["volumes"]:
        if "emptyDir" in volume:
            assert mebibytes(volume["emptyDir"]["sizeLimit"])
        else:
            assert mounts[volume["name"]]["readOnly"] is True
            # A file that is mounted by itself is not updated.
            assert "subPath" not in mounts[volume["name"]]


def test_settings_are_valid_and_none_is_secret(with_components: list[Document], tmp_path: Path) -> None:
    data: dict[str, str] = find(with_components, "ConfigMap", "goldfish-settings")["data"]
    (tmp_path / "keys").write_text("0" * 64)
    files = {"GOLDFISH_API_KEYS_FILE": str(tmp_path / "keys")}
    assert data.keys() >= files.keys()
    without_keys = {name: value for name, value in data.items() if name != "GOLDFISH_TRUSTED_KEYS"}
    Settings.read(without_keys | files)
    assert not any(re.search("PASSWORD|TOKEN|USERNAME", name) for name in data)
    assert not [each for each in with_components if each["kind"] == "Secret"]


def test_the_pin_is_that_of_git_byte_for_byte(objects: list[Document]) -> None:
    pin = find(objects, "ConfigMap", "goldfish-pin")
    assert pin["data"]["digits.json"].encode() == PIN
    # Another pin has another name, so it rolls out as other pods.
    assert re.fullmatch(r"goldfish-pin-\w{10}", pin["metadata"]["name"])
    assert pin["immutable"] is True


def test_a_pin_that_is_followed_keeps_its_name(with_components: list[Document]) -> None:
    pin = find(with_components, "ConfigMap", "goldfish-pin")
    assert pin["metadata"]["name"] == "goldfish-pin"
    assert not pin.get("immutable")


def test_pods_use_the_config_maps_that_are_rendered(with_components: list[Document]) -> None:
    names = {each["metadata"]["name"] for each in with_components if each["kind"] == "ConfigMap"}
    pod = pod_of(with_components)
    used = {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}
    used |= {source["configMapRef"]["name"] for source in pod["containers"][0]["envFrom"]}
    assert used == {name for name in names if not name.startswith(("goldfish-alerts", "goldfish-dashboard"))}


def test_the_pod_outlives_drain_and_grace(objects: list[Document]) -> None:
    settings = find(objects, "ConfigMap", "goldfish-settings")
    needed = seconds(settings, "GOLDFISH_DRAIN") + seconds(settings, "GOLDFISH_GRACE") + SHUTDOWN_SECONDS
    pod = pod_of(objects)
    # Knative gives pods as long as requests.
    given = pod.get("terminationGracePeriodSeconds") or pod["timeoutSeconds"]
    assert given > needed


def test_slots_are_the_cpus_that_are_requested(objects: list[Document]) -> None:
    slots = find(objects, "ConfigMap", "goldfish-settings")["data"]["GOLDFISH_SLOTS"]
    pod = pod_of(objects)
    resources = pod["containers"][0]["resources"]
    assert resources["requests"]["cpu"] == slots
    assert float(resources["limits"].get("cpu", "inf")) >= float(slots)
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert pod.get("containerConcurrency", int(slots)) == int(slots)


def test_the_memory_is_the_sum_that_the_manual_shows(plain: list[Document]) -> None:
    manual = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| (?:(\d) x )?(\d+) MB \|", manual, re.MULTILINE)
    total = sum(int(times or 1) * int(megabytes) for times, megabytes in rows)
    settings = Settings.read(find(plain, "ConfigMap", "goldfish-settings")["data"])
    assert (str(settings.slots), str(IMAGE_BYTES // MIB)) in rows
    assert ("2", str(settings.bodies_mb)) in rows
    assert f"| sum | {total} MB |" in manual.replace("**", "")
    limit = mebibytes(pod_of(plain)["containers"][0]["resources"]["limits"]["memory"])
    assert total < CGROUP_SHARE * limit < total * 1.2


def test_ports_agree(objects: list[Document]) -> None:
    settings = find(objects, "ConfigMap", "goldfish-settings")["data"]
    http, metrics = int(settings["PORT"]), int(settings["GOLDFISH_METRICS_PORT"])
    (container,) = pod_of(objects)["containers"]
    assert container["ports"][0]["containerPort"] == http
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == http
    assert {container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe")} == {"/readyz"}
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert f'"prometheus.io/port": "{metrics}"' in json.dumps(objects)


def test_the_network_policy_lets_in_neighbours_and_nothing_out(plain: list[Document]) -> None:
    settings = find(plain, "ConfigMap", "goldfish-settings")["data"]
    policy = find(plain, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    opened = {
        rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: [
            str(port["port"]) for port in rule["ports"]
        ]
        for rule in policy["ingress"]
    }
    assert opened == {"ingress-nginx": [settings["PORT"]], "monitoring": [settings["GOLDFISH_METRICS_PORT"]]}


def test_the_registry_opens_the_way_to_itself_and_to_dns_alone(with_components: list[Document]) -> None:
    address = find(with_components, "ConfigMap", "goldfish-settings")["data"]["MLFLOW_TRACKING_URI"]
    egress = find(with_components, "NetworkPolicy")["spec"]["egress"]
    opened = {
        rule["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: {
            port["port"] for port in rule["ports"]
        }
        for rule in egress
    }
    host, _, port = address.removeprefix("http://").partition(":")
    assert opened == {host.partition(".")[2]: {int(port)}, "kube-system": {53}}
    model = Settings().model
    assert f"/srv/models/{model}/pulled" in json.dumps(pod_of(with_components))


def test_selectors_find_the_pods(plain: list[Document]) -> None:
    deployment = find(plain, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        find(plain, "Service")["spec"]["selector"],
        find(plain, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        find(plain, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(
            constraint["labelSelector"]["matchLabels"]
            for constraint in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    assert all(selector.items() <= labels for selector in selectors)
    autoscaler = find(plain, "HorizontalPodAutoscaler")["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    # It would be set back whenever the manifests are applied.
    assert "replicas" not in deployment["spec"]


def test_a_rollout_waits_longer_than_a_start(plain: list[Document]) -> None:
    probe = pod_of(plain)["containers"][0]["startupProbe"]
    deadline = find(plain, "Deployment")["spec"]["progressDeadlineSeconds"]
    assert deadline > probe["failureThreshold"] * probe["periodSeconds"]


def test_kserve_gets_what_it_looks_for() -> None:
    objects = documents("kserve")
    service = find(objects, "InferenceService")
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    (container,) = service["spec"]["predictor"]["containers"]
    assert container["name"] == "kserve-container"
    assert container["env"] == [{"name": "PROTOCOL", "value": "v2"}]
    labels = find(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert labels.items() <= service["spec"]["predictor"]["labels"].items()


def test_knative_gets_what_it_allows() -> None:
    objects = documents("knative")
    pod = pod_of(objects)
    assert set(pod) <= KNATIVE_FIELDS
    assert all(set(volume) - {"name"} <= KNATIVE_VOLUMES for volume in pod["volumes"])
    (container,) = pod["containers"]
    assert container["ports"] == [{"name": "http1", "containerPort": 8080}]
    assert "lifecycle" not in container
    settings = find(objects, "ConfigMap", "goldfish-settings")["data"]
    assert not {int(settings["PORT"]), int(settings["GOLDFISH_METRICS_PORT"])} & KNATIVE_PORTS


def test_overlays_have_the_same_container() -> None:
    containers = []
    for overlay in OVERLAYS:
        (container,) = pod_of(documents(overlay))["containers"]
        container["resources"]["limits"].pop("cpu", None)
        containers.append({k: v for k, v in container.items() if k not in ("env", "name", "ports")})
    assert containers[0] == containers[1] == containers[2]


def test_every_folder_is_an_overlay_a_component_or_shared() -> None:
    folders = {
        path.parent.relative_to(KUBERNETES).as_posix() for path in KUBERNETES.rglob("kustomization.yaml")
    }
    components = {f"components/{name}" for name in COMPONENTS}
    assert folders == {*OVERLAYS, *components, "base", "image"}
