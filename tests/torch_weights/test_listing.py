"""`segalias models`, and the documented table of weights."""

import json
from pathlib import Path

import pytest
from weights_server import *  # noqa: F403

from segalias_jax import cli, models
from segalias_jax.torch_weights.listing import families, operators_table, weights_table
from segalias_jax.torch_weights.zoo import ZOO, find

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(server, capsys):
    """Runs the command; its cache is empty."""

    def run(*words):
        status = cli.main(["models", *words])
        return status, "".join(capsys.readouterr())

    return run


def test_details(run, tmp_path):
    path = tmp_path / "m.json"
    status, told = run(
        "resnet18", "fcn", "torchvision:resnet18", "--size", "64", "96", f"--json={path}"
    )
    assert status == 0, told
    assert "resnet18 (encoder)\n  parameters  11,195,744\n" in told
    assert "stage4  (as one operator)" in told and "0.7071             0.3536" in told
    assert "for         model.encoder=resnet18, model.variant=v1b" in told
    assert "here        no; it would go to" in told and "f37072fd ..." in told
    encoder, decoder, weights = json.loads(path.read_text())
    assert encoder["channels"] == [64, 128, 256, 512] and encoder["size"] == [64, 96]
    assert "torchvision:resnet18" in encoder["weights"]
    assert decoder["kind"] == "decoder" and decoder["parameters"] > 20_000_000
    # Convolutions at a 32nd of the image; a multiply-add is two. A tenth of the parameters are
    # those of the auxiliary head, which does not run.
    assert 0.9 < decoder["flops"] / (2 * decoder["parameters"] * 2 * 3) < 0.92
    assert "for one image of 64 x 96, on resnet50, without it" in told
    assert weights["address"] == find("torchvision:resnet18").address and weights["path"] is None


def test_all_are_listed(run, monkeypatch):
    monkeypatch.setattr(models, "ENCODERS", {n: models.ResNet for n in ("resnet18", "resnet50")})
    for table, names in (("MODELS", ("upernet", "fcn")), ("DETECTORS", ("mask_rcnn",))):
        kept = {name: getattr(models, table)[name] for name in names}
        monkeypatch.setattr(models, table, kept)
    status, told = run("--size", "32", "32")
    assert status == 0 and "one image of 32 x 32" in told
    # On a slow machine the bar is shown, and wiped out with blanks.
    first = [line.split()[0] for line in told.splitlines() if line.strip()]
    tables = (models.ENCODERS, models.MODELS, models.DETECTORS, models.PANOPTIC, models.UNIVERSAL)
    for name in (name for table in tables for name in table):
        assert name in first
    (row,) = [line for line in told.splitlines() if line.startswith("resnet18")]
    assert row.split()[1] == "11,195,744" and row.endswith("mmseg:resnet18_v1c")


def test_weights_on_this_machine_are_marked(run, tmp_path, monkeypatch):
    found = find("mmseg:resnet18_v1c")
    place = tmp_path / "cache" / found.address.removeprefix("https://")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"by hand")
    told = run("mmseg:resnet18_v1c", "resnet18", "--size", "32", "32")[1]
    assert f"here        {place}" in told and "mmseg:resnet18_v1c*" in told


@pytest.mark.parametrize(
    "words, message",
    [
        (["resnet19"], "name is 'resnet19'; did you mean 'resnet18'"),
        (["resnet18", "--size", "0", "64"], "all positive"),
        (["resnet18", "--size", "32", "32", "--json=no/m.json"], "no/m.json cannot be written"),
        (["resnet18", "--weights"], "--weights prints one table alone"),
        (["--weights", "--operators"], "--weights prints one table alone"),
    ],
)
def test_errors(run, words, message):
    status, told = run(*words)
    assert status == 2 and told.splitlines()[-1].startswith("error: ") and message in told


def test_the_documented_table_is_the_current_one(run):
    assert weights_table() in (ROOT / "docs" / "weights.md").read_text()
    told = run("--weights")[1]
    assert told == weights_table() + "\n" and told.count("\n") == len(ZOO) + 2


def test_the_documented_operators_are_the_current_ones(run, monkeypatch):
    """Of four families, with every kind of row; the others would take as long to trace."""
    documented = (ROOT / "docs" / "aliasing.md").read_text()
    # Other tests may have imported encoders of a user's own.
    own = [name for name in families() if models.ENCODERS[name].__module__.startswith("segalias")]
    assert len(own) > 10
    for name in own:
        assert f"\n| {name} | " in documented, f"segalias models --operators now has {name}"
    few = ("resnet18", "mit_b0", "efficientnet_lite0", "dinov2_small")
    monkeypatch.setattr(models, "ENCODERS", {name: models.ENCODERS[name] for name in few})
    told = run("--operators")[1]
    assert told == operators_table(few) + "\n"
    by_name = {name: [line for line in told.splitlines() if f"| {name} |" in line] for name in few}
    for name, lines in by_name.items():
        assert lines and "\n".join(lines) in documented
        assert documented.count(f"| {name} |") == len(lines)
    assert "| stage3 as one | 3 | 2 | 40 -> 80 | 0.707 | cuts at 0.354 |" in told
