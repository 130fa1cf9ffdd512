"""Files of a report appear together or not at all."""

import errno

import pytest

from segalias_jax.scoring.reports import saving


def full(path, parts):
    if path.name == "b":
        raise OSError(errno.ENOSPC, "No space left on device", str(path))
    path.write_bytes(b"".join(parts))


FILES = {"a": lambda: [b"new ", b"a"], "b": lambda: iter([b"new b"])}


def test_all_files_appear(tmp_path):
    saving.save_files(tmp_path / "x" / "o", FILES)
    found = {path.name: path.read_text() for path in (tmp_path / "x" / "o").iterdir()}
    assert found == {"a": "new a", "b": "new b"}


@pytest.mark.parametrize("before", [None, {}, {"a": "old", "mine": "1"}])
def test_a_full_disk_changes_nothing(tmp_path, monkeypatch, before):
    folder = tmp_path / "o"
    if before is not None:
        folder.mkdir()
        for name, text in before.items():
            (folder / name).write_text(text)
    monkeypatch.setattr(saving, "write_parts", full)
    with pytest.raises(OSError, match="No space left"):
        saving.save_files(folder, FILES)
    assert folder.exists() == (before is not None)
    if before is not None:
        assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_an_error_while_making_a_file_changes_nothing(tmp_path):
    def broken():
        yield b"half"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        saving.save_files(tmp_path / "o", FILES | {"c": broken})
    assert not (tmp_path / "o").exists()
