"""The section of what would be served: digests, pin, sizes, latency, the gate's checks."""

from pipeline.markdown import bullets, code, details, table
from pipeline.report.subject import Subject
from serving.artifact.manifest import MANIFEST, SERVING
from serving.artifact.pin import Pin


def artifact(subject: Subject, most: int) -> str:
    """All of it, folded away."""
    gate = subject.now.metrics.gate
    checks = [
        f"{'passed' if check.passed else 'refused'}: {code(f'{name}: {check.reason}', 160)}"
        for name, check in sorted(gate.checks.items())
    ]
    if subject.machine is not None:
        checks.append(f"on this machine: {code(subject.machine.against_pinned, 160)}")
    title = "Digests, sizes, latency and the gate's checks"
    return details(title, table(["", ""], _rows(subject)) + "\nThe gate:\n\n" + bullets(checks, most))


def _rows(subject: Subject) -> list[list[str]]:
    now = subject.now.metrics.digest
    digests = [["digest now", code(now, 64)]]
    for side in subject.sides:
        then = side.evidence.metrics.digest
        digests.append([f"digest {side.name}", "the same" if then == now else code(then, 64)])
    pins = [["pinned now", _pin(subject.pin)]]
    if subject.served != subject.pin:
        pins.append(["pinned before", _pin(subject.served)])
    return [*digests, *pins, ["size", _sizes(subject)], ["latency", _latency(subject)]]


def _pin(pin: Pin | None) -> str:
    return "nothing" if pin is None else f"version {pin.version}, {code(pin.digest, 64)}"


def _sizes(subject: Subject) -> str:
    if subject.bundle is None:
        return f"no {code((subject.layout.bundle / MANIFEST).as_posix())} here to read it from"
    files = subject.bundle.manifest.files.values()
    served = sum(file.size for file in files if file.role == SERVING)
    return f"{_bytes(sum(file.size for file in files))}, of which {_bytes(served)} serve"


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def _latency(subject: Subject) -> str:
    if subject.machine is None:
        return "not measured here"
    found = subject.machine.latency
    return f"{found.total_ms_p50:.1f} ms median, {found.total_ms_p95:.1f} ms 95th percentile, on this machine"
