"""What a folder holds: links, loops, and what is no file."""

import os
import socket

import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring.sources import PathList, list_files, shown


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_links_to_folders_and_files_are_followed(tmp_path):
    fill(tmp_path / "elsewhere", "b.png", "deep/c.png")
    fill(tmp_path / "p", "a.png")
    os.symlink("../elsewhere", tmp_path / "p" / "sub")
    os.symlink("../elsewhere/b.png", tmp_path / "p" / "d.PNG")
    found = list_files(tmp_path / "p", (".png",))
    names = [p.relative_to(tmp_path / "p").as_posix() for p in found.files]
    assert names == ["a.png", "d.PNG", "sub/b.png", "sub/deep/c.png"] and not found.unusable
    os.symlink("p", tmp_path / "whole")
    assert len(list_files(tmp_path / "whole", (".png",)).files) == 4


def test_files_are_in_the_order_of_their_paths(tmp_path):
    """Part by part, as paths compare, and not as their texts do."""
    names = ("a/b.png", "a.b/c.png", "a-b.png", "a/a/z.png", "a b.png", "b/\udcff.png")
    folder = fill(tmp_path / "p", *names)
    found = list_files(folder, (".png",)).files
    assert list(found) == sorted(folder / name for name in names)
    assert found[1:3] == list(found)[1:3] and found[-1] == folder / names[-1]
    few = found.only(lambda path: path.parent != folder)
    assert isinstance(few, PathList) and list(few) == [p for p in found if p.parent != folder]


def test_links_in_a_circle_end(tmp_path):
    fill(tmp_path / "p", "a.png", "one/b.png", "two/c.png")
    os.symlink("../two", tmp_path / "p/one/two")
    os.symlink("../one", tmp_path / "p/two/one")
    os.symlink("..", tmp_path / "p/one/up")
    os.symlink("../..", tmp_path / "p/two/above")
    names = [
        p.relative_to(tmp_path / "p").as_posix() for p in list_files(tmp_path / "p", (".png",))[0]
    ]
    # Each link is followed once on the way from the top.
    assert names == ["a.png", "one/b.png", "one/two/c.png", "two/c.png", "two/one/b.png"]


def test_what_is_no_file_is_listed_with_its_kind(tmp_path, monkeypatch):
    folder = fill(tmp_path / "p", "a.png")
    os.mkfifo(folder / "b.png")
    os.mkfifo(folder / "other")  # nobody takes it for a map
    (folder / "d.png").mkdir()
    os.symlink("nowhere", folder / "e.png")
    monkeypatch.chdir(folder)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("c.png")
        found = list_files(folder, (".png",))
    assert [p.name for p in found.files] == ["a.png"]
    assert {os.path.basename(path): reason for path, reason in found.unusable} == {
        "b.png": "a pipe, not a file that holds a map",
        "c.png": "a socket, not a file that holds a map",
        "d.png": "a folder, though it has the name of a map",
        "e.png": "a link that leads nowhere (No such file or directory)",
    }
    with pytest.raises(InputError, match="neither a folder nor a .zip, .tar"):
        list_files(folder / "b.png", (".png",))


def test_unreadable_folders_are_listed(tmp_path, monkeypatch):
    folder, scan = fill(tmp_path / "p", "a.png", "sub/b.png"), os.scandir

    def refuse(path):  # root may read everything
        if os.fspath(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list_files(folder, (".png",))
    assert [p.name for p in found.files] == ["a.png"]
    assert found.unusable == [(str(folder / "sub"), "cannot be read (Permission denied)")]
    with pytest.raises(InputError, match=r"sub: cannot be read \(Permission denied\)"):
        list_files(folder, (".tif",))


def test_bytes_that_are_no_text_are_shown():
    assert shown(os.fsdecode(b"a\xff.png")) == "a\\xff.png" and shown("\u00e4") == "\u00e4"
