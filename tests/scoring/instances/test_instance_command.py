"""`segalias score --instances`: from files to a report, and what it refuses."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from instance_cases import perturbed, random_rectangles

from segalias_jax import cli
from segalias_jax.data.run_length import encode_mask
from segalias_jax.scoring.instances import CAUSES
from segalias_jax.scoring.instances.instance_report import FILES


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results and ground truth of 4 images in JSON, and maps of one class."""
    folder = tmp_path_factory.mktemp("sides")
    rng = np.random.default_rng(0)
    truth = {"images": [], "annotations": [], "categories": []}
    truth["categories"] = [{"id": 10 * c, "name": f"<c{c}>"} for c in (1, 2, 3)]
    results = []
    for kind in ("pred", "true", "images"):
        (folder / kind).mkdir()
    for k in range(4):
        true = random_rectangles(rng, 7, scored=False)
        predicted = perturbed(rng, true, 3)
        size = {"height": true.shape[0], "width": true.shape[1]}
        truth["images"].append({"id": k, "file_name": f"{k}.png", **size})
        for side, objects in (("true", true), ("pred", predicted)):
            ids = np.zeros(true.shape, np.uint16)
            for i, mask in enumerate(objects.masks):
                pixels = mask.window(0, 0, *true.shape)
                ids[pixels] = i + 1
                one = {"image_id": k, "category_id": 10 * int(objects.classes[i])}
                one["segmentation"] = encode_mask(pixels)  # a string, as mmdetection writes it
                one["bbox"] = [float(x) for x in mask.box]
                if side == "true":
                    truth["annotations"].append(
                        {**one, "id": len(truth["annotations"]), "iscrowd": 0, "area": mask.area}
                    )
                else:
                    results.append({**one, "score": float(objects.scores[i])})
            cv2.imwrite(str(folder / side / f"{k}.png"), ids)
        cv2.imwrite(str(folder / "images" / f"{k}.png"), np.full((*true.shape, 3), 90, np.uint8))
    (folder / "gt.json").write_text(json.dumps(truth))
    (folder / "dt.json").write_text(json.dumps(results))
    return folder


def run(*words) -> int:
    return cli.main(["score", "--instances", *map(str, words)])


def test_a_report_of_results(made, tmp_path, capsys):
    pytest.importorskip("faster_coco_eval")
    out = tmp_path / "out"
    words = (made / "dt.json", made / "gt.json", "--images", made / "images", "--out", out)
    limits = ("--fail-under=segm_AP=100", "--fail-under=bbox_AP:<c1>=1")
    assert run(*words, "--score-threshold=0.2", *limits) == 4
    printed, said = capsys.readouterr()
    assert said.count("failed: segm_AP is ") == 1 and "bbox_AP" not in said
    assert {path.name for path in out.iterdir()} == set(FILES)
    report = json.loads((out / "report.json").read_text())
    assert (report["kind"], report["schema"]) == ("instances", 1)
    assert "--score-threshold=0.2" in report["command"]
    assert report["settings"]["kinds"] == ["bbox", "segm", "boundary"]
    assert len(report["images"]) == 4
    true = sum(one["true"] for one in report["classes"])
    assert true == 28
    assert np.asarray(report["causes"]["true"]).sum() == true
    assert sum(report["scores"][name] for name in CAUSES if name != "false") == true
    with (out / "objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["side"] == "true" for row in rows) == true
    for name in CAUSES:
        side = "predicted" if name == "false" else "true"
        number = sum(row["side"] == side and row["cause"] == name for row in rows)
        assert number == report["scores"][name]
    markdown = (out / "report.md").read_text()
    first = printed.split("\n\n")[0]
    page = (out / "report.html").read_text()
    assert first in markdown
    assert first.split(";")[0] in page
    assert "<c1>" not in page.replace("&lt;c1&gt;", "").split("<script", 1)[0]
    assert page.count("data:image/jpeg") == 4
    assert "boundary" in printed


def test_maps_of_one_class_need_no_package(made, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(made / "pred", made / "true", "--out", tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["settings"]["kinds"] == []
    assert [one["name"] for one in report["classes"]] == ["object"]


def test_the_truth_scores_full_and_nothing_scores_nothing(made, tmp_path, capsys):
    limits = ("--fail-under=PQ=100", "--fail-under", "PQ:object=100", "--fail-under=AJI=100")
    assert run(made / "true", made / "true", *limits) == 0
    assert "is the ground truth, too" in capsys.readouterr().err
    (tmp_path / "none.json").write_text("[]")
    none = (tmp_path / "none.json", made / "gt.json", "--average-precision=none")
    assert run(*none, "--fail-under=PQ=1") == 4
    said = capsys.readouterr()
    assert "PQ is 0.00, below 1" in said.err
    assert "28 of 28 objects (100 %) are missed" in said.out
    assert "4 of 4 images have no prediction" in said.out


def test_classes_off_by_one_are_told(made, tmp_path, capsys):
    truth = json.loads((made / "gt.json").read_text())
    for one in truth["annotations"]:
        one["category_id"] = one["category_id"] % 30 + 10
    (tmp_path / "dt.json").write_text(json.dumps(truth))
    run(tmp_path / "dt.json", made / "gt.json", "--average-precision=none")
    assert "check that both sides number classes alike" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (["--compare", "x"], "x: no such file or folder"),
        (["--resume"], "--resume: is not for --instances; objects are scored in one go"),
        (["--baseline", "x"], "--baseline: is not for --instances; a report of objects does not"),
        (["--fail-under=AP=30"], "--fail-under AP: say of what, such as bbox_AP"),
        (
            ["--fail-under=segm_AP50=30"],
            "segm_AP50: is not counted here; add --average-prec",
        ),
        (["--fail-under=segm_AP:object=30"], "segm_AP: is not counted here; add --average-prec"),
        (["--probabilities"], "--probabilities: is not for --instances"),
        (["--fail-under=mIoU=3"], "--fail-under is 'mIoU'; "),
        (["--fail-under=PQ=0.3"], "--fail-under PQ=0.3: limits are in per cent; write PQ=30"),
        (["--fail-under=PQ:car=3"], "--fail-under PQ is 'car'"),
        (["--overwrite"], "--overwrite: says what to do with the report in --out"),
        (["--average-precision=mask"], "'mask' is none of bbox, segm, boundary, none"),
        (["--max-detections=3"], "max_detections: 3 must be more than 10"),
        (["--divisor=100"], "--num-classes: say how many classes"),
        (["--divisor=-1"], "divisor: -1"),
        (["--pictures=-1"], "--pictures"),
    ],
)
def test_flags_that_do_not_fit(made, words, said, capsys):
    assert run(made / "pred", made / "true", *words) == 2
    assert said in capsys.readouterr().err


def test_flags_of_objects_alone_and_sizes_that_differ(made, tmp_path, capsys):
    assert cli.main(["score", str(made), str(made), "--divisor=10"]) == 2
    assert "--divisor: is about objects; add --instances" in capsys.readouterr().err
    assert cli.main(["score", str(made / "dt.json"), str(made / "gt.json")]) == 2
    assert "dt.json: JSON is about objects; add --instances" in capsys.readouterr().err
    for k in range(4):
        np.save(tmp_path / f"{k}.npy", np.ones((20, 25), int))
    assert run(tmp_path, made / "true", "--out", tmp_path / "out") == 2
    assert "0: masks of 25x20 pixels are predicted, and those of 50x40" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_report_is_not_replaced_unless_asked(made, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(made / "pred", made / "true", "--out", out, "--pictures=0") == 0
    assert run(made / "pred", made / "true", "--out", out) == 2
    assert "is there already" in capsys.readouterr().err
    assert run(made / "pred", made / "true", "--out", out, "--overwrite") == 0
    assert '"pictures":{}' not in (out / "report.html").read_text()


def test_what_cannot_be_used_is_left_out_where_asked(made, tmp_path, capsys):
    shutil.copytree(made / "pred", tmp_path / "pred")
    (tmp_path / "pred/0.png").write_bytes(b"no map")
    (tmp_path / "pred/1.png").unlink()
    assert run(tmp_path / "pred", made / "true") == 2
    out = tmp_path / "out"
    assert run(tmp_path / "pred", made / "true", "--keep-going", "--out", out) == 3
    said = capsys.readouterr().err
    assert "left out 2:" in said and "0.png: " in said and "1" in said
    report = json.loads((out / "report.json").read_text())
    assert [one["name"] for one in report["images"]] == ["2", "3"]
    assert "0.png" in report["settings"]["left out"]
    # Maps for a ground truth in JSON.
    for k in (0, 2, 3):
        cv2.imwrite(str(tmp_path / f"pred/{k}.png"), np.full((40, 50), 1001, np.uint16))
    words = (tmp_path / "pred", made / "gt.json", "--divisor=1000", "--keep-going")
    assert run(*words) == 3
    assert "1.png: no map in" in capsys.readouterr().err
    for k in range(4):
        (tmp_path / f"pred/{k}.png").write_bytes(b"no map")
    assert run(tmp_path / "pred", made / "true", "--keep-going") == 2
    assert "no image could be scored" in capsys.readouterr().err


def test_models_are_compared(made, tmp_path, capsys):
    out, limit = tmp_path / "out", "--fail-under=PQ=99"
    words = (made / "pred", made / "true", "--compare", made / "true", "--out", out, limit)
    assert run(*words) == 4
    said = capsys.readouterr()
    assert "true - pred" in said.out and "failed: pred: PQ is " in said.err
    assert "true: PQ" not in said.err
    comparison = json.loads((out / "report.json").read_text())
    assert comparison["models"] == ["pred", "true"] and len(comparison["images"]) == 4
    for name in comparison["models"]:
        scores = json.loads((out / name / "report.json").read_text())["scores"]
        for row in comparison["rows"]:
            if row["model"] == name and row["score"] in scores and row["score"] not in CAUSES:
                assert row["value"] == pytest.approx(scores[row["score"]], abs=1e-12)
    page = (out / "report.html").read_text()
    assert "pred/report.html" in page and "Images that differ most" in page
    assert run(*words) == 2 and "is there already" in capsys.readouterr().err


def test_average_precision_is_compared_without_intervals(made, capsys):
    pytest.importorskip("faster_coco_eval")
    words = (made / "dt.json", made / "gt.json", "--compare", made / "gt.json")
    assert run(*words, "--average-precision=segm") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "segm AP" in line]
    assert len(rows) == 1 and "[" not in rows[0] and "100.00" in rows[0]
    assert run(*words) == 2
    assert "gt was scored by other rules than dt" in capsys.readouterr().err


def test_otsu_on_nuclei_has_its_known_scores(real_data):
    """Of the smoothed image, components of 10 pixels and more."""
    import importlib.util
    from pathlib import Path

    root = real_data("dsb2018")
    path = Path(__file__).parents[3] / "benchmarks" / "instance_causes.py"
    spec = importlib.util.spec_from_file_location("instance_causes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scores = module.otsu(root, "val").compute()
    assert scores["accuracy_50"] == pytest.approx(0.426, abs=1e-3)
    assert scores["PQ"] == pytest.approx(0.479, abs=1e-3)
