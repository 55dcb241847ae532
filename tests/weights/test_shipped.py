"""The weights registry on real folders: whole, damaged, missing, overridden."""

from __future__ import annotations

import hashlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from avatarcli.errors import WeightsError
from avatarcli.weights import shipped as weights

REPOSITORY = Path(__file__).resolve().parents[2]
UPDATE_SCRIPT = REPOSITORY / "scripts" / "update_weights_manifest.py"
TEXTS = {"licence": "CC0-1.0", "source": "made for this test", "description": "some bytes"}


def make_root(folder: Path, content: bytes = b"weights of a small network") -> Path:
    """A weights folder with one file, `net/a.bin`, and its manifest."""
    (folder / "net").mkdir(parents=True)
    (folder / "net" / "a.bin").write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), **TEXTS}
    (folder / "manifest.json").write_text(json.dumps({"format_version": 1, "files": {"net/a.bin": entry}}))
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_root(tmp_path / "weights")
    monkeypatch.setenv(weights.ENVIRONMENT_VARIABLE, str(folder))
    return folder


def test_whole_file_is_found_under_the_override(root: Path) -> None:
    path = weights.weights_file("net/a.bin")
    assert path == root / "net" / "a.bin"
    assert weights.fingerprint("net/a.bin") == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [(check.name, check.error) for check in weights.verify_all()] == [("net/a.bin", None)]
    assert weights.load_manifest()["net/a.bin"].licence == "CC0-1.0"


def test_one_changed_byte_is_refused(root: Path) -> None:
    path = root / "net" / "a.bin"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match=r"a\.bin is damaged .*SHA-256") as caught:
        weights.weights_file("net/a.bin")
    assert "\n" not in str(caught.value)
    (check,) = weights.verify_all()
    assert check.error == str(caught.value)


def test_truncated_file_is_refused_with_both_sizes(root: Path) -> None:
    path = root / "net" / "a.bin"
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(WeightsError, match="10 bytes instead of 26"):
        weights.weights_file("net/a.bin")


def test_missing_file_can_be_mended_in_the_same_process(root: Path) -> None:
    path = root / "net" / "a.bin"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(WeightsError, match=r"a\.bin is missing"):
        weights.weights_file("net/a.bin")
    path.write_bytes(content)
    assert weights.weights_file("net/a.bin") == path


def test_unknown_name_lists_what_there_is(root: Path) -> None:
    for lookup in (weights.weights_file, weights.fingerprint):
        with pytest.raises(WeightsError, match=r"'net/b\.bin'.*net/a\.bin"):
            lookup("net/b.bin")


def test_override_must_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.ENVIRONMENT_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="nowhere is not a folder"):
        weights.weights_root()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"files": {}}', '{"format_version": 99, "files": {}}', '{"format_version": 1}']
)
def test_unreadable_manifest_is_named(root: Path, text: str) -> None:
    (root / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        weights.load_manifest()


def test_the_weights_that_ship_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(weights.ENVIRONMENT_VARIABLE, raising=False)
    checks = weights.verify_all()
    assert [check.error for check in checks] == [None] * len(checks)
    files = runpy.run_path(str(UPDATE_SCRIPT))["weight_files"](weights.weights_root())
    assert set(files) == {check.name for check in checks}


def run_update(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, UPDATE_SCRIPT, root], capture_output=True, text=True, check=False)


def test_update_script_rewrites_sums_and_keeps_the_texts(root: Path) -> None:
    (root / "net" / "a.bin").write_bytes(b"new weights")
    (root / "net" / "README.md").write_text("a card, not a weights file")
    assert run_update(root).returncode == 0
    assert weights.weights_file("net/a.bin").read_bytes() == b"new weights"
    entry = weights.load_manifest()["net/a.bin"]
    assert {name: getattr(entry, name) for name in TEXTS} == TEXTS


def test_update_script_refuses_a_file_of_unknown_licence(root: Path) -> None:
    before = (root / "manifest.json").read_bytes()
    (root / "net" / "b.bin").write_bytes(b"who made this?")
    result = run_update(root)
    assert result.returncode == 1
    assert "net/b.bin: write its licence" in result.stderr
    assert (root / "manifest.json").read_bytes() == before


def test_update_script_refuses_an_entry_without_a_file(root: Path) -> None:
    (root / "net" / "a.bin").unlink()
    result = run_update(root)
    assert result.returncode == 1
    assert "net/a.bin: in the manifest, but there is no such file" in result.stderr
