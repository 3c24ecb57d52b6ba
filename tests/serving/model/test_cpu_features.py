"""8-bit sums may saturate on x86 without VNNI, and on x86 CPUs with unknown features."""

from pathlib import Path

import pytest

from serving.model.cpu_features import int8_may_saturate

LINES = "processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\nbugs\t\t: none\n\n"
HASWELL = "fpu sse4_1 sse4_2 fma avx avx2 bmi2"
SKYLAKE = f"{HASWELL} avx512f avx512bw avx512vl"


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", HASWELL, True),
        ("x86_64", SKYLAKE, True),
        ("x86_64", f"{SKYLAKE} avx512_vnni", False),
        ("x86_64", f"{HASWELL} avx_vnni", False),
        # Flags are compared as whole words.
        ("x86_64", f"{HASWELL} avx_vnni_int8", True),
        ("AMD64", HASWELL, True),
        ("x86_64", "", True),
        ("aarch64", "asimd asimddp", False),
        ("aarch64", "asimd", False),
        ("arm64", "", False),
    ],
)
def test_by_flags(tmp_path: Path, machine: str, flags: str, expected: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(2 * LINES.format(vendor="any", flags=flags))
    assert int8_may_saturate(machine, file) is expected


def test_unknown_features_count_as_saturating(tmp_path: Path) -> None:
    assert int8_may_saturate("x86_64", tmp_path / "nowhere")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")
    assert int8_may_saturate("x86_64", tmp_path / "cpuinfo")
    assert not int8_may_saturate("arm64", tmp_path / "nowhere")
