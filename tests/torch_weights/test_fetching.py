"""Files over HTTP: resumed, checked, whole or absent, one sentence for what goes wrong."""

import hashlib

import pytest
from weights_server import *  # noqa: F403

from segalias_jax.errors import InputError
from segalias_jax.torch_weights.fetching import fetch, mirrored

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def a(server):
    server.put("/a.pth", CONTENT)
    return f"{server.address}/a.pth"


def test_whole_file_in_a_new_folder(server, a, tmp_path):
    path = tmp_path / "new" / "a.pth"
    assert fetch(a, path) == SHA256
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["a.pth"]
    assert server.asked == [("/a.pth", None)]


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_connections_are_resumed(server, a, tmp_path, ranges):
    server.faults, server.ranges = ["cut", "cut"], ranges
    assert fetch(a, tmp_path / "a.pth", sha256=SHA256[:8]) == SHA256
    half, three_quarters = len(CONTENT) // 2, 3 * len(CONTENT) // 4
    second = f"bytes={three_quarters if ranges else half}-"
    assert [ask for _, ask in server.asked] == [None, f"bytes={half}-", second]


def test_a_later_command_resumes(server, a, tmp_path):
    server.faults = ["cut", 503, 503, 503]
    with pytest.raises(InputError, match=r"a.pth cannot be fetched \(503 Service Unavailable\)"):
        fetch(a, tmp_path / "a.pth", sha256=SHA256)
    assert (tmp_path / "a.pth.part").stat().st_size == len(CONTENT) // 2
    assert fetch(a, tmp_path / "a.pth", sha256=SHA256) == SHA256
    assert server.asked[-1] == ("/a.pth", f"bytes={len(CONTENT) // 2}-")


def test_parts_are_joined_only_where_a_hash_can_tell(server, a, tmp_path):
    (tmp_path / "a.pth.part").write_bytes(b"of another version")
    server.faults = ["cut"]
    assert fetch(a, tmp_path / "a.pth") == SHA256
    assert [ask for _, ask in server.asked] == [None, None]


def test_a_part_that_is_longer_than_the_file_is_dropped(server, a, tmp_path):
    (tmp_path / "a.pth.part").write_bytes(CONTENT + b"more")
    assert fetch(a, tmp_path / "a.pth", sha256=SHA256) == SHA256
    assert [ask for _, ask in server.asked][1:] == [None]


def test_another_file_is_refused_and_removed(server, a, tmp_path):
    wrong = "0" * 8
    (tmp_path / "a.pth").write_bytes(b"an older one")
    with pytest.raises(InputError, match=f"its sha256 is {SHA256}, not {wrong};"):
        fetch(a, tmp_path / "a.pth", sha256=wrong)
    # What was there before is whoever's put it there.
    assert [p.name for p in tmp_path.iterdir()] == ["a.pth"]
    assert (tmp_path / "a.pth").read_bytes() == b"an older one"


@pytest.mark.parametrize("code, told", [(404, "404 Not Found"), (403, "asks for a login")])
def test_what_is_not_there_is_not_tried_again(server, tmp_path, code, told):
    server.faults = [code]
    with pytest.raises(InputError, match=f"a.pth is not there .*{told}"):
        fetch(f"{server.address}/a.pth", tmp_path / "a.pth")
    assert len(server.asked) == 1 and not list(tmp_path.glob("a*"))


def test_a_server_that_is_silent_or_gone(server, a, tmp_path):
    server.faults = ["stall"] * 3
    with pytest.raises(InputError, match="cannot be fetched .*timed out"):
        fetch(a, tmp_path / "a.pth")
    assert len(server.asked) == 3
    with pytest.raises(InputError, match="cannot be fetched .*refused"):
        fetch("http://127.0.0.1:9/a.pth", tmp_path / "a.pth")


def test_redirects_keep_the_stated_hash_and_the_range(server, a, tmp_path):
    server.redirects["/from"], server.stated["/from"] = "/a.pth", SHA256
    (tmp_path / "a.pth.part").write_bytes(CONTENT[:100])
    assert fetch(f"{server.address}/from", tmp_path / "a.pth", sha256=SHA256) == SHA256
    assert server.asked == [("/from", "bytes=100-"), ("/a.pth", "bytes=100-")]
    server.stated["/from"] = "0" * 64
    with pytest.raises(InputError, match=f"its sha256 is {SHA256}, not {'0' * 64}"):
        fetch(f"{server.address}/from", tmp_path / "b.pth")


def test_proxies_of_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    server.put("http://weights.invalid/a.pth", CONTENT)
    assert fetch("http://weights.invalid/a.pth", tmp_path / "a.pth") == SHA256


def test_offline_and_mirrors(server, a, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "SEGALIAS_MIRRORS", f"https://b.c/d={server.address} https://e.f=https://g.h"
    )
    assert mirrored("https://b.c/d/a.pth") == a and mirrored("https://e.f/i") == "https://g.h/i"
    assert fetch("https://b.c/d/a.pth", tmp_path / "a.pth") == SHA256
    for wrong in ("https://b.c", "b.c=http://d", "https://b.c=/folder"):
        monkeypatch.setenv("SEGALIAS_MIRRORS", wrong)
        with pytest.raises(InputError, match="is no pair FROM=TO of addresses"):
            mirrored("https://b.c/d")
    monkeypatch.setenv("SEGALIAS_OFFLINE", "1")
    with pytest.raises(InputError, match="is not fetched, since SEGALIAS_OFFLINE is set"):
        fetch(a, tmp_path / "b.pth")
    assert len(server.asked) == 1
