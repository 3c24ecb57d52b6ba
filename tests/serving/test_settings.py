"""Settings: the bounds of each one, all errors reported at once, and no secret in a message."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from serving import config
from serving.config import NAMES, Settings, SettingsInvalid, variable
from tests.repo.imports import ROOT

FIELDS = Settings.__struct_fields__
DIGEST = "0123456789abcdef" * 4
COMMIT = DIGEST[:40]
# Fields that protect the server when they are set: an empty text would silently turn that off.
EMPTY_IS_AN_ERROR = {"api_keys", "api_keys_file", "trusted_keys"}
# Set in every variable that may hold a secret.
SECRET = "hunter2"  # noqa: S105


def read(**settings: str) -> Settings:
    """The settings of an environment that sets these fields."""
    return Settings.read({variable(name): text for name, text in settings.items()})


def reasons(**environment: str) -> str:
    """The message for an environment that cannot be used."""
    with pytest.raises(SettingsInvalid) as caught:
        Settings.read(environment)
    return str(caught.value)


# For every field: valid texts at its bounds with their values, and invalid texts.
WHOLE = ["x", "1.5", "1 ", "0x1", "1_0", "true", "null", "\u0663"]
REAL = ["x", "1s", "nan", "inf", "-1", "1,5"]
BOUNDS: dict[str, tuple[dict[str, object], list[str]]] = {
    "model": (
        {"digits": "digits", "a": "a", "my-model_2": "my-model_2", "x" * 64: "x" * 64},
        ["Digits", "2digits", "-a", "a.b", "../a", "a/b", "a b", "ä", "x" * 65],
    ),
    "models": (
        {"digits": ("digits",), "a, b-2": ("a", "b-2"), ",": ()},
        ["Digits", "a,../b", "a,a", "a b"],
    ),
    "bundle": ({"some/folder": Path("some/folder")}, []),
    "pins": ({"elsewhere": Path("elsewhere")}, []),
    "models_folder": ({"../models": Path("../models")}, []),
    "reports": ({"a b": Path("a b")}, []),
    "pin_commit": ({"": "", COMMIT: COMMIT}, ["main", COMMIT[:7], COMMIT.upper(), DIGEST]),
    "registry": ({"https://u:p@mlflow.example": "https://u:p@mlflow.example"}, []),
    "registry_user": ({"me": "me"}, []),
    "registry_password": ({SECRET: SECRET}, []),
    "registry_token": ({SECRET: SECRET}, []),
    **{
        name: (
            {"true": True, "1": True, "True": True, "false": False, "0": False},
            ["yes", "on", "2", "-1"],
        )
        for name in ("registry_insecure_tls", "registry_plain_http")
    },
    # Key files are tested in tests/serving/artifact/test_trusted_keys.py.
    "trusted_keys": ({}, ["nowhere", ".", "", " ", ","]),
    "allow_new_labels": ({"true": True, "false": False}, ["maybe", "2"]),
    "bake": ({"0": 0.0, "0.5": 0.5, "86400": 86400.0}, ["-0.1", "86401", *REAL]),
    "follow": (
        {"digits@champion": ("digits@champion",), "digits@A_b-1 ,": ("digits@A_b-1",)},
        ["digits", "digits@", "@champion", "digits@a b", "Digits@x", "shapes@champion"],
    ),
    "poll": ({"1": 1.0, "86400": 86400.0}, ["0", "0.9", "86401", *REAL]),
    "shadow": ({"0": 0.0, "0.25": 0.25, "1": 1.0}, ["-0.1", "1.1", *REAL]),
    "canary": ({"0": 0.0, "0.05": 0.05, "1": 1.0}, ["-0.1", "1.1", *REAL]),
    "agreement": ({"0.01": 0.01, "0.95": 0.95, "0.999": 0.999}, ["0", "0.001", "1", *REAL]),
    "max_slowdown": ({"0.5": 0.5, "1000": 1000.0}, ["0", "1001", *REAL]),
    # It needs another setting too, see below.
    "candidates": ({}, ["digits", "digits@", "shapes@challenger", "digits@challenger"]),
    "host": ({"0.0.0.0": "0.0.0.0"}, []),  # noqa: S104  (not bound)
    "port": ({"0": 0, "65535": 65535}, ["-1", "65536", "tcp://10.0.0.1:80", *WHOLE]),
    "aip_http_port": ({"0": 0, "8080": 8080}, ["-1", "65536", *WHOLE]),
    **{
        name: (
            {path: path for path in ("/", "/health", "/v1/endpoints/1/deployedModels/2:predict")},
            ["health", "http://x/y", "/a b", "/<name>", "/a?b", "/%2e", "/{x}", "/\u00e4", "/" + "x" * 256],
        )
        for name in ("aip_health_route", "aip_predict_route")
    },
    "workers": ({"0": 0, "256": 256}, ["-1", "257", *WHOLE]),
    "slots": ({"0": 0, "256": 256}, ["-1", "257", *WHOLE]),
    "queue": ({"0": 0, "1000": 1000}, ["-1", "1001", *WHOLE]),
    "uploads": ({"1": 1, "1000": 1000}, ["-1", "0", "1001", *WHOLE]),
    "deadline": ({"0.001": 0.001, "3600": 3600.0}, ["0", "3600.1", *REAL]),
    "head_seconds": ({"0.5": 0.5, "3600": 3600.0}, ["0", "3601", *REAL]),
    "body_seconds": ({"1e1": 10.0, "3600": 3600.0}, ["0", "3601", *REAL]),
    "keepalive": ({"1": 1, "3600": 3600}, ["0", "3601", *WHOLE]),
    "drain": ({"0": 0.0, "2.5": 2.5, "3600": 3600.0}, ["-0.1", "3601", *REAL]),
    "grace": ({"1": 1, "3600": 3600}, ["0", "3601", *WHOLE]),
    "max_body_mb": ({"1": 1, "1024": 1024}, ["0", "1025", *WHOLE]),
    "bodies_mb": ({"1": 1, "65536": 65536}, ["0", "65537", *WHOLE]),
    "explain": ({"true": True, "false": False, "0": False}, ["maybe", "2"]),
    "abstain_below": ({"0": 0.0, "0.75": 0.75, "1": 1.0}, ["-0.1", "1.1", "nan", "half"]),
    "cache_mb": ({"0": 0, "65536": 65536}, ["-1", "65537", *WHOLE]),
    "max_images": ({"1": 1, "1024": 1024}, ["0", "1025", *WHOLE]),
    # Its content is validated where it is used: tests/serving/api/test_access_control.py.
    "rate_limit": ({"": "", "60/minute": "60/minute"}, []),
    "api_keys": (
        {DIGEST: (DIGEST,), f"{DIGEST}, {DIGEST} ,": (DIGEST, DIGEST)},
        [
            *(SECRET, DIGEST[:-1], DIGEST + "0", DIGEST.upper(), f"{DIGEST},{SECRET}", f"{DIGEST} {DIGEST}"),
            *("", " ", ",", " , "),
        ],
    ),
    # Readable files are tested below.
    "api_keys_file": ({}, ["nowhere", ".", "", " "]),
    "proxy_hops": ({"0": 0, "10": 10}, ["-1", "11", *WHOLE]),
    "prefix": (
        {"": "", "/vision": "/vision", "/vision/flowers-2/v1.0": "/vision/flowers-2/v1.0", "/.x": "/.x"},
        [
            *("vision", "/", "/vision/", "//vision", "/vision//x", "/../x", "/x/..", "/.", "/a b", "/%2e"),
            *("/<x>", "/x?y", "/x#y", "/\u00e4", "http://x/y", "/x\\y", "/" + "x" * 65, "/x" * 9),
        ],
    ),
    "cors_origins": (
        {
            "*": ("*",),
            "https://app.example": ("https://app.example",),
            "http://localhost:3000, https://[::1]:8443": ("http://localhost:3000", "https://[::1]:8443"),
            "capacitor://localhost": ("capacitor://localhost",),
        },
        [
            *("null", "app.example", "https://app.example/", "https://app.example/path", "//app.example"),
            *("https://", "https://*.example", "https://App.example", "HTTPS://app.example", "https://a b"),
            *("https://app.example:443", "http://app.example:80", "https://app.example:", "https://u@x"),
            *("*, https://app.example", "https://app.example, null", "https://x:0", "https://x:123456"),
            *("https://\u00e4.example", "https://x?y", "https://x#y", "localhost:3000"),
        ],
    ),
    "metrics_port": ({"0": 0, "9090": 9090}, ["-1", "65536", *WHOLE]),
    "metrics_classes": ({"0": 0, "10000": 10_000}, ["-1", "10001", *WHOLE]),
    **{
        name: (
            {url: url for url in ("http://collector:4318", "https://[::1]:4318/a/b?c=d")},
            [
                "collector:4318",
                "grpc://collector:4317",
                "http://me:x@collector",
                "http://a b",
                "http://",
                "/",
            ],
        )
        for name in ("otlp_endpoint", "otlp_traces_endpoint")
    },
    # Only together with an endpoint it matters what they are, see below.
    **{name: ({"grpc": "grpc"}, []) for name in ("otlp_protocol", "otlp_traces_protocol")},
    "traces_exporter": ({"otlp": "otlp", "none": "none"}, ["console", "otlp,console", "OTLP"]),
    "otel_disabled": ({"true": "true", "False": "False", "TRUE": "TRUE"}, ["1", "0", "yes", "truely"]),
    "span_batch": ({"1": 1, "65536": 65536}, ["0", "65537", *WHOLE]),
}
WITHIN = [(name, text, value) for name, (good, _) in BOUNDS.items() for text, value in good.items()]
BEYOND = [(name, text) for name, (_, bad) in BOUNDS.items() for text in bad]


def test_every_field_is_tried() -> None:
    assert list(BOUNDS) == list(FIELDS)


@pytest.mark.parametrize(("name", "text", "value"), WITHIN)
def test_within_the_bounds(name: str, text: str, value: object) -> None:
    found = getattr(read(**{name: text}), name)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(("name", "text"), BEYOND)
def test_beyond_the_bounds(name: str, text: str) -> None:
    sentence = reasons(**{variable(name): text})
    assert sentence.startswith(f"The environment cannot be used: {variable(name)}")
    assert name == "api_keys" or repr(text) in sentence


@pytest.mark.parametrize("name", ["model", "pin_commit"])
def test_line_break_at_the_end_is_no_part_of_a_name(name: str) -> None:
    good = next(text for text in reversed(BOUNDS[name][0]) if text)
    assert repr(f"{good}\n") in reasons(**{variable(name): f"{good}\n"})


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in EMPTY_IS_AN_ERROR])
@pytest.mark.parametrize("text", ["", " "])
def test_empty_is_not_set(name: str, text: str) -> None:
    assert read(**{name: text}) == Settings()


def test_a_file_may_hold_the_value(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{DIGEST},\n{DIGEST}\n")
    assert Settings.read({"GOLDFISH_API_KEYS_FILE": str(tmp_path / "keys")}).api_keys == (DIGEST, DIGEST)
    (tmp_path / "password").write_text(f"{SECRET}\n")
    found = Settings.read({"MLFLOW_TRACKING_PASSWORD_FILE": str(tmp_path / "password")})
    assert found.credentials.password == SECRET


def test_a_file_of_keys_with_names(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# ours\nalice {DIGEST} quota=10/day\n\n{DIGEST[::-1]}\n")
    found = Settings.read({"GOLDFISH_API_KEYS_FILE": str(tmp_path / "keys"), "GOLDFISH_API_KEYS": ""})
    assert (found.api_keys, found.api_keys_file) == ((DIGEST, DIGEST[::-1]), tmp_path / "keys")


@pytest.mark.parametrize("port", ["9090", "0"])
def test_metrics_have_a_port_of_their_own(port: str) -> None:
    sentence = reasons(PORT="9090", GOLDFISH_METRICS_PORT="9090")
    assert "GOLDFISH_METRICS_PORT is the port of all other routes" in sentence
    found = Settings.read({"PORT": port, "GOLDFISH_METRICS_PORT": "9091", "GOLDFISH_HOST": "::1"})
    assert [found.address_at(each) for each in found.ports] == [f"[::1]:{port}", "[::1]:9091"]


def test_who_needs_few_settings_does_not_fail_because_of_others() -> None:
    environment = {"GOLDFISH_API_KEYS_FILE": "nowhere", "GOLDFISH_SLOTS": "x", "PORT": "1", "GOLDFISH_X": "y"}
    assert Settings.read(environment, only=("port",)) == Settings(port=1)


@pytest.mark.parametrize("file", ["nowhere", "."])
def test_a_file_that_cannot_be_read_is_no_open_door(tmp_path: Path, file: str) -> None:
    path = str(tmp_path / file)
    assert f"GOLDFISH_API_KEYS_FILE is {path!r}, which cannot be read" in reasons(GOLDFISH_API_KEYS_FILE=path)


def test_an_empty_file_is_no_open_door(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n")
    assert "holds no key" in reasons(GOLDFISH_API_KEYS_FILE=str(tmp_path / "keys"))


def test_nothing_set() -> None:
    assert Settings.read({}) == Settings()
    assert Settings().max_body_bytes == 24 * 2**20
    assert Settings().body_budget_bytes == 256 * 2**20


def test_defaults_are_within_their_own_bounds() -> None:
    plain = msgspec.to_builtins(Settings(), enc_hook=str)
    assert msgspec.convert(plain, Settings, dec_hook=config._decode_path) == Settings()


def test_variables_have_the_names_that_others_gave_them() -> None:
    assert {name: variable(name) for name in NAMES} == NAMES
    assert variable("max_body_mb") == "GOLDFISH_MAX_BODY_MB"
    assert len({variable(name) for name in FIELDS}) == len(FIELDS)


# Variables without the prefix, and those that Kubernetes sets for services called goldfish or goldfish-x.
TOLERATED = {
    "PATH": "/bin", "HOSTNAME": "x", "SLOTS": "x", "goldfish_slots": "x", "MY_GOLDFISH_SLOTS": "x",
    "MLFLOW_EXPERIMENT_NAME": "x", "WEB_CONCURRENCY": "8", "GUNICORN_CMD_ARGS": "",
    "GOLDFISH_SERVICE_HOST": "10.0.0.1",
    "GOLDFISH_SERVICE_PORT": "80",
    "GOLDFISH_SERVICE_PORT_HTTP": "80",
    "GOLDFISH_PORT": "tcp://10.0.0.1:80",
    "GOLDFISH_PORT_80_TCP": "tcp://10.0.0.1:80",
    "GOLDFISH_PORT_80_TCP_PROTO": "tcp",
    "GOLDFISH_PORT_80_TCP_PORT": "80",
    "GOLDFISH_PORT_80_TCP_ADDR": "10.0.0.1",
    "GOLDFISH_PORT_53_UDP_ADDR": "10.0.0.1",
    "GOLDFISH_X_SERVICE_HOST": "10.0.0.1",
    "GOLDFISH_X_PORT_80_TCP": "tcp://10.0.0.1:80",
}  # fmt: skip


def test_what_others_set_is_tolerated() -> None:
    assert Settings.read(TOLERATED) == Settings()


UNKNOWN = [
    "GOLDFISH_", "GOLDFISH_SLOT", "GOLDFISH_MAX_BODY", "GOLDFISH_slots", "GOLDFISH_API_KEY", "GOLDFISH_PORTS",
    "GOLDFISH_SERVICE", "GOLDFISH_REGISTRY", "GOLDFISH_PORT_80_SCTP", "GOLDFISH_SERVICE_HOSTS",
    "GOLDFISH_MY_PORTAL", "GOLDFISH_REGISTRY_INSECURE_TLS",
]  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_variable_is_named(name: str) -> None:
    sentence = reasons(**{name: SECRET})
    assert f"there is no {name}" in sentence
    assert SECRET not in sentence


def test_what_vertex_ai_sets_goes_before_what_the_image_has() -> None:
    assert Settings.read({"PORT": "5000", "AIP_HTTP_PORT": "8080"}).address == "127.0.0.1:8080"
    assert Settings.read({"AIP_HTTP_PORT": "8080"}).port == 8080
    assert Settings.read({"PORT": "5000", "AIP_HTTP_PORT": ""}).port == 5000


BASE, OWN = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1/"}, "http://other:2/spans"
TRACES_URLS: list[tuple[dict[str, str], str]] = [
    ({}, ""),
    (BASE, "http://c:1/v1/traces"),
    ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": OWN}, OWN),
    (BASE | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": OWN}, OWN),
    (BASE | {"OTEL_SDK_DISABLED": "True"}, ""),
    (BASE | {"OTEL_SDK_DISABLED": "false"}, "http://c:1/v1/traces"),
    (BASE | {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ""),
    (BASE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http://c:1/v1/traces"),
    (
        BASE
        | {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        },
        "http://c:1/v1/traces",
    ),
]


@pytest.mark.parametrize(("environment", "url"), TRACES_URLS)
def test_where_spans_go(environment: dict[str, str], url: str) -> None:
    assert Settings.read(environment).traces_url == url


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_spans_are_not_sent_in_another_protocol_than_asked_for(name: str) -> None:
    assert f"{name} is 'grpc', and spans are sent by http/protobuf" in reasons(**BASE, **{name: "grpc"})


def test_without_the_library_an_endpoint_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    monkeypatch.delitem(sys.modules, "serving.api.span_export", raising=False)
    sentence = reasons(**BASE)
    for part in ("OTEL_EXPORTER_OTLP_ENDPOINT", "extra `otel`", "opentelemetry", "requirements/otel.txt"):
        assert part in sentence
    assert not Settings.read({**BASE, "OTEL_SDK_DISABLED": "true"}).traces_url


def test_without_an_endpoint_the_library_is_not_imported() -> None:
    code = (
        "import sys, serving.api.app, serving.config; serving.config.Settings.read({}); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=30)
    assert "serving.api.service" in done.stdout
    assert not {"opentelemetry", "requests", "serving.api.span_export"} & set(done.stdout.split())


def test_port_under_its_wrong_name_is_not_passed_over() -> None:
    assert "GOLDFISH_PORT" in reasons(GOLDFISH_PORT="8000")


def test_all_faults_are_told_at_once() -> None:
    sentence = reasons(
        GOLDFISH_SLOTS="many",
        GOLDFISH_QUEUE="-1",
        GOLDFISH_SLOT="1",
        PORT="http",
        GOLDFISH_DRAIN="5",
        PATH="/bin",
    )
    for part in ("GOLDFISH_SLOTS is 'many'", "GOLDFISH_QUEUE is '-1'", "no GOLDFISH_SLOT;", "PORT is 'http'"):
        assert part in sentence
    assert sentence.count(";") == 3
    assert "DRAIN" not in sentence
    assert "PATH" not in sentence


@pytest.mark.parametrize(
    "name",
    [
        *("GOLDFISH_API_KEYS", "GOLDFISH_API_KEY", "GOLDFISH_REGISTRY_PASSWORD", "GOLDFISH_REGISTRY_TOKEN"),
        *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI"),
    ],
)
def test_no_secret_is_told(name: str) -> None:
    assert SECRET not in reasons(**{name: f"https://me:{SECRET}@mlflow.example", "GOLDFISH_SLOTS": "x"})


@pytest.mark.parametrize(
    "wrong", [{"GOLDFISH_SLOTS": "x"}, {"GOLDFISH_SLOT": "1", "PORT": "x"}, {"GOLDFISH_API_KEYS": SECRET}]
)
def test_server_says_it_in_one_sentence(tmp_path: Path, wrong: dict[str, str]) -> None:
    ours = {name: text for name, text in os.environ.items() if not name.startswith("GOLDFISH_")}
    done = subprocess.run(
        [sys.executable, "-m", "serving"],
        cwd=tmp_path,
        env=ours | {"PYTHONPATH": str(ROOT)} | wrong,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == reasons(**wrong) + "\n"
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stderr


def test_every_setting_has_its_reason_above_it() -> None:
    lines = inspect.getsource(config).splitlines()
    (settings,) = (
        node
        for node in ast.parse("\n".join(lines)).body
        if isinstance(node, ast.ClassDef) and node.name == Settings.__name__
    )
    declared = [node for node in settings.body if isinstance(node, ast.AnnAssign)]
    assert [ast.unparse(node.target) for node in declared] == list(FIELDS)
    for node in declared:
        # The comment of a group stands above its first field; an empty line ends the group.
        above = lines[: node.lineno - 1]
        group = next(index for index in reversed(range(len(above))) if not above[index].strip())
        assert above[group + 1].strip().startswith("#"), ast.unparse(node)
