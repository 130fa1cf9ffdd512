"""Reports of parts become that of the whole, bit by bit; what does not fit is refused."""

import json
import shutil

import cv2
import numpy as np
import pytest
from counted_maps import maps

from segalias_jax.errors import InputError
from segalias_jax.metrics.distance_counts import DistanceSettings
from segalias_jax.scoring import image_set, merge_reports, read_report, score_folders

FILES = ("report.json", "report.md", "per_image.csv", "per_image_class.csv", "objects.csv")
OF_THE_RUN = ("command", "date", "title", "settings")


def write_pairs(root, count, classes=4):
    """`count` pairs in p and l, and every fourth of them in p0, l0 and so on."""
    for i in range(count):
        size = np.random.default_rng(i).integers(20, 40, 2)
        for kind, ids in zip("pl", maps(i, classes), strict=True):
            for folder in (root / kind, root / f"{kind}{i % 4}"):
                folder.mkdir(exist_ok=True)
                cv2.imwrite(str(folder / f"{i:04d}.png"), ids[: size[0], : size[1]])


def without_run(folder):
    content = json.loads((folder / "report.json").read_text())
    return {name: value for name, value in content.items() if name not in OF_THE_RUN}


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 4},
        {"num_classes": 2},
        {
            "num_classes": 4,
            "offsets": (1,),
            "distances": DistanceSettings(spacing=(1, 0.7), widths=(1, 2)),
            "ignore": "exclude",
            "boundary": "exact",
        },
    ],
    ids=["default", "binary", "all"],
)
def test_four_shards_are_the_whole_bit_by_bit(tmp_path, monkeypatch, options):
    """More than are scored at once, so that a shard's images fall into other groups."""
    monkeypatch.setattr(image_set, "_AT_ONCE", 7)
    write_pairs(tmp_path, 16, options["num_classes"])
    (tmp_path / "p0" / "broken.png").write_bytes(b"")
    (tmp_path / "l0" / "broken.png").write_bytes(b"")
    for shard in ("", *"0123"):
        report = score_folders(
            tmp_path / f"p{shard}", tmp_path / f"l{shard}", keep_going=True, **options
        )
        report.save(tmp_path / f"r{shard}", worst=0)
    merged = merge_reports([tmp_path / f"r{i}" for i in (2, 0, 3, 1)])
    assert merged.left_out == (
        ("broken", f"{tmp_path}/p0/broken.png: the file is empty; copy it again"),
    )
    assert merged.settings["images scored"] == len(merged.images)
    merged.save(tmp_path / "m", worst=0)
    whole, ours = without_run(tmp_path / "r"), without_run(tmp_path / "m")
    del whole["left_out"], ours["left_out"]
    assert ours == whole
    for name in FILES[2:]:
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "r" / name).read_bytes()


def test_a_report_that_is_read_is_the_one_that_was_written(tmp_path):
    write_pairs(tmp_path, 6)
    score_folders(tmp_path / "p", tmp_path / "l", num_classes=4).save(tmp_path / "r", worst=0)
    report = read_report(tmp_path / "r" / "report.json")
    report.save(tmp_path / "again", worst=0)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "r" / name).read_bytes()
    assert merge_reports([tmp_path / "r"]).title == report.title
    with pytest.raises(InputError, match="0000: the files of this image are not known"):
        report.sample(0)


def test_a_report_that_another_program_indented_is_read(tmp_path):
    write_pairs(tmp_path, 2)
    report = score_folders(tmp_path / "p", tmp_path / "l", num_classes=4)
    report.save(tmp_path / "r", worst=0)
    path = tmp_path / "r" / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4, sort_keys=True))
    assert list(read_report(path).lines()) != []
    np.testing.assert_array_equal(read_report(path).sums, report.sums)


@pytest.fixture
def reports(tmp_path):
    write_pairs(tmp_path, 4)
    for i in "0123":
        report = score_folders(tmp_path / f"p{i}", tmp_path / f"l{i}", num_classes=4)
        report.save(tmp_path / f"r{i}", worst=0)
    return tmp_path


def test_an_image_in_two_parts_is_refused(reports):
    shutil.copytree(reports / "r1", reports / "copy")
    with pytest.raises(InputError, match="copy: image '0001' is in .*r1, too; leave it out"):
        merge_reports([reports / name for name in ("r0", "r1", "copy")])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_classes": 5}, "scored with num_classes 5, but .*r0 with 4; score all parts"),
        ({"num_classes": 4, "width": 3}, "scored with width 3, but .*r0 with 15"),
        (
            {"num_classes": 4, "causes": None},
            "scored with (causes|coverage) None, but",
        ),
        ({"num_classes": 4, "classes": "abcd"}, "scored with classes a, b, c, d, but"),
        ({"num_classes": 4, "offsets": (1,)}, r"scored with offsets \(1,\), but"),
    ],
)
def test_parts_of_other_settings_are_refused(reports, options, message):
    report = score_folders(reports / "p1", reports / "l1", **options)
    report.save(reports / "other", worst=0)
    with pytest.raises(InputError, match=f"other: {message}"):
        merge_reports([reports / "r0", reports / "other"])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda text: text[: len(text) // 2], "not a whole report|not JSON"),
        (lambda text: text[:-20], "not a whole report"),
        (lambda text: "", "not a whole report"),
        (lambda text: "[]", "not a whole report"),
        (lambda text: '{"title": "old", "summary": {}}', "without the counts.*schema None, not 2"),
        (lambda text: text.replace('"schema": 2', '"schema": 3'), "schema 3, not 2"),
        (lambda text: text.replace('"regions":[', '"regions":[1,'), "not those of an image"),
        (lambda text: text.replace('"rules"', '"laws"'), "written by another version"),
    ],
)
def test_what_is_no_report_is_refused(reports, change, message):
    path = reports / "r0" / "report.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=f"r0/report.json: .*({message})"):
        merge_reports([reports / "r1", reports / "r0"])
