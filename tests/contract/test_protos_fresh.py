"""The committed stubs are what protos/ generates, and buf has nothing to say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOL = [sys.executable, str(ROOT / "tools" / "protos.py")]


def test_stubs_are_fresh(tmp_path: Path) -> None:
    subprocess.run([*TOOL, "--out", str(tmp_path)], check=True, timeout=120)
    generated = {p.relative_to(tmp_path): p.read_text() for p in tmp_path.rglob("*.py*")}
    assert len(generated) > 20
    committed_root = ROOT / "sdk" / "src"
    stale = [str(p) for p, text in generated.items() if (committed_root / p).read_text() != text]
    assert not stale, f"run `make protos`; stale: {stale}"
    extra = {
        p.relative_to(committed_root)
        for folder in ("ingrain/v1", "buf")
        for p in (committed_root / folder).rglob("*.py*")
        if p.suffix in (".py", ".pyi")
    } - set(generated)
    assert not extra, f"generated from protos that are gone: {extra}"


def test_buf_lint() -> None:
    done = subprocess.run([*TOOL, "--lint"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
