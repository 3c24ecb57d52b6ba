"""The section about the bundle: digests, pins, size, latency and the gate's checks."""

from pipeline.markdown import bullets, code, details, table
from pipeline.report.model_comparison import ModelComparison
from serving.artifact.manifest import MANIFEST, SERVING
from serving.artifact.pin import Pin


def bundle_section(comparison: ModelComparison, max_rows: int) -> str:
    """All of it collapsed."""
    checks = [
        f"{'passed' if check.passed else 'refused'}: {code(f'{name}: {check.reason}', 160)}"
        for name, check in sorted(comparison.current.metrics.gate.checks.items())
    ]
    if comparison.machine is not None:
        checks.append(f"on this machine: {code(comparison.machine.against_pinned, 160)}")
    body = table(["", ""], _rows(comparison)) + "\nThe gate:\n\n" + bullets(checks, max_rows)
    return details("Digests, sizes, latency and the gate's checks", body)


def _rows(comparison: ModelComparison) -> list[list[str]]:
    now = comparison.current.metrics.digest
    rows = [["digest now", code(now, 64)]]
    for reference in comparison.references:
        digest = reference.results.metrics.digest
        rows.append([f"digest {reference.name}", "the same" if digest == now else code(digest, 64)])
    rows.append(["pinned now", _pin(comparison.pin)])
    if comparison.base_pin != comparison.pin:
        rows.append(["pinned before", _pin(comparison.base_pin)])
    return [*rows, ["size", _sizes(comparison)], ["latency", _latency(comparison)]]


def _pin(pin: Pin | None) -> str:
    return "nothing" if pin is None else f"version {pin.version}, {code(pin.digest, 64)}"


def _sizes(comparison: ModelComparison) -> str:
    if comparison.bundle is None:
        return f"unknown: {code((comparison.layout.bundle / MANIFEST).as_posix())} is not here"
    files = comparison.bundle.manifest.files.values()
    served = sum(file.size for file in files if file.role == SERVING)
    return f"{_bytes(sum(file.size for file in files))}, of which {_bytes(served)} are served"


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def _latency(comparison: ModelComparison) -> str:
    if comparison.machine is None:
        return "not measured here"
    machine = comparison.machine
    return f"{machine.ms_p50:.1f} ms median, {machine.ms_p95:.1f} ms 95th percentile, on this machine"
