"""The measurement of a million, tried with a thousand: every figure comes about, and everything holds."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from clients.bench import million, reads, usage


@pytest.mark.timeout(300)
@pytest.mark.skipif(not usage.PROC.is_dir(), reason="only Linux tells what a process has used")
def test_a_trial_measures_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "FLOOR_RUNS": 1,
        "APPENDED": 100,
        "APPEND_ROUNDS": 1,
        "LOOKUP_ROUNDS": 1,
        "STARTS": 1,
        "SAY_S": 0.1,
    }.items():
        monkeypatch.setattr(million, name, value)
    monkeypatch.setattr(reads, "ROUND_S", 0.1)
    found = million.figures(tmp_path, Console(file=io.StringIO()), million.Size(1_000))
    figures = {figure.name: figure for figure in found}
    per_record = ("issuer_disk_bytes", "partner_disk_bytes", "wire_bytes", "issuer_cpu_us", "partner_cpu_us")
    assert {f"{name}_per_record_{at}" for name in per_record for at in (10, 100, 1000)} <= set(figures)
    assert {"append_growth_1000", "lookup_p99_growth_1000", "start_1000_s", "fsck_1000_s"} <= set(figures)
    assert {"own_bytes_per_record_1000", "partner_bytes_per_record_1000"} <= set(figures)
    assert {"import_1000_per_s", "import_to_mirror_1000_per_s", "import_again_1000_per_s"} <= set(figures)
    floor = "es256_signed_and_verified_1000_per_s"
    assert set(figures["import_to_mirror_1000_per_s"].ratios) == set(figures["fsck_1000_s"].ratios) == {floor}
    assert figures["import_1000_per_s"].ratios[floor] < 1 < figures["fsck_1000_s"].ratios[floor]
    assert figures[floor].floor
    assert figures["wire_bytes_per_record_1000"].percentile(50) > 500, "every record crosses the wire"
    assert 20 < figures["issuer_peak_memory_1000_mb"].percentile(50) < million.MEMORY_MB
