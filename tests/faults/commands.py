"""Faults at file operations of the commands that write: killed or failed half-way, and run again.

    python tests/faults/commands.py [KILLS [ERRORS]]        writes benchmarks/results/commands.json

KILLS and ERRORS are for each command. The same command, run again, has to give what an undisturbed
one gives, byte by byte, with nothing left over beside it; and no input may be changed. `prepare` is
tried where tensorflow_datasets is installed.
"""

import collections
import errno
import hashlib
import importlib.util
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import killing, operations  # noqa: E402
from flax import nnx  # noqa: E402

from segalias_jax import models  # noqa: E402
from segalias_jax.checkpoints import CheckpointStore, pretrained  # noqa: E402
from segalias_jax.runs import recipes  # noqa: E402
from segalias_jax.runs.workdir import CHECKPOINTS, save_classes, save_recipe  # noqa: E402
from segalias_jax.training.state import split_model  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "commands.json"
MODEL = {
    "model.encoder": "resnet18",
    "model.width": 8,
    "model.channels": 8,
    "model.auxiliary_channels": 8,
    "model.reduction": 4,
    "data.crop": (32, 32),
    "eval.batch_size": 2,
}
CLASSES = 8
_RECIPE = ["--config", "quickstart"] + [
    f"--config.{key}={value}" for key, value in MODEL.items() if key.startswith("model.")
]
# Words of each command, below a folder that holds the inputs and, elsewhere, the place to write to.
COMMANDS = {
    "predict": ["predict", "{in}/images", "--run", "{in}/run", "--out", "out", "--probabilities"],
    "export, StableHLO": ["export", "--run", "{in}/run", "--format", "stablehlo", "--out", "out"],
    "export, ONNX": ["export", "--run", "{in}/run", "--format", "onnx", "--out", "out"],
    "prepare": ["prepare", "camvid", "--root", "{in}/camvid", "--out", "out"],
    "convert": ["convert", "{in}/x.safetensors", "out", *_RECIPE],
    "convert, to safetensors": [
        "convert",
        "{in}/run",
        "out.safetensors",
        "--to-safetensors",
        *_RECIPE,
    ],
    # Without --resume it does not go on with counts that another call has left.
    "score": ["score", "{in}/maps", "{in}/labels", f"--num-classes={CLASSES}", "--out", "out"]
    + ["--resume"],
}


def available():
    """Names of the commands whose packages are installed."""
    needs = {"prepare": "tensorflow_datasets", "export, ONNX": "onnx"}
    return [name for name in COMMANDS if importlib.util.find_spec(needs.get(name, "jax"))]


def make_inputs(folder):
    """Writes a run with drawn weights, images, maps, labels and a small CamVid."""
    chance = np.random.default_rng(0)
    config = recipes.load_recipe(f"{ROOT}/configs/quickstart.py")
    config.update_from_flattened_dict(MODEL)
    model = models.create_model(config.model, num_classes=CLASSES, rngs=nnx.Rngs(0))
    _, parameters, statistics = split_model(model)
    save_recipe(recipes.flat_items(config), folder / "run")
    palette = chance.integers(0, 256, (CLASSES, 3), np.uint8)
    save_classes(folder / "run", [f"class {i}" for i in range(CLASSES)], palette)
    with CheckpointStore(folder / "run" / CHECKPOINTS) as store:
        store.save(0, {"parameters": parameters, "statistics": statistics})

    def write(path, *shape, highest=256):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), chance.integers(0, highest, shape, np.uint8))

    for number in range(3):
        write(folder / f"images/f{number}.png", 40, 56, 3)
        for kind in ("maps", "labels"):
            write(folder / f"{kind}/f{number}.png", 40, 56, highest=CLASSES)
        for split in ("train", "val"):
            write(folder / f"camvid/images/{split}/{split}{number}.jpg", 20, 30, 3)
            write(folder / f"camvid/labels/{split}/{split}{number}.png", 20, 30, highest=12)
    for split in ("train", "val"):
        (folder / f"camvid/{split}.txt").write_text("\n".join(f"{split}{n}" for n in range(3)))


class Campaign:
    """Commands that are ended at operations and run again, and what came of it."""

    def __init__(self, runs, *, seed=0):
        self.runs = runs
        self.chance = random.Random(seed)
        self.inputs = runs.folder / "inputs"
        make_inputs(self.inputs)
        status, said = self._command("convert, to safetensors", runs.folder / "first")
        assert status == 0, said
        shutil.move(runs.folder / "first/out.safetensors", self.inputs / "x.safetensors")
        self._inputs = contents(self.inputs)
        self.counts = {key: collections.Counter() for key in ("tried", "reached", "survived")}
        self.complaints = []
        self._expected = {}
        self.operations = {}

    def kill(self, name):
        """Kills a command at an operation that is drawn, and runs it again."""
        at = self.chance.randrange(sum(self._undisturbed(name).values()))
        fault = operations.describe(at, operations.KINDS, 0)
        self._try(f"{name} killed", name, fault, {operations.SIGNAL})

    def fail(self, name):
        """Lets an operation of a command fail, and runs it again."""
        counts = self._undisturbed(name)
        kind = self.chance.choice([kind for kind in operations.KINDS if counts[kind]])
        error = self.chance.choice(list(operations.ERRORS))
        at, lasting = self.chance.randrange(counts[kind]), operations.ERRORS[error]
        fault = operations.describe(at, [kind], getattr(errno, error), lasting=lasting)
        # Some operations, such as clearing up, a command can do without.
        self._try(f"{name} failed", name, fault, {0, 2})

    def _undisturbed(self, name):
        if name not in self.operations:
            folder = self.runs.folder / f"undisturbed {name}"
            fault = operations.describe(operations.NEVER, operations.KINDS, 0)
            status, said = self._command(name, folder, fault)
            assert status == 0, said
            counts = json.loads((self.runs.folder / f"{folder.name}.log.operations").read_text())
            self.operations[name] = dict(zip(operations.KINDS, counts, strict=True))
            self._expected[name] = contents(folder)
        return self.operations[name]

    def _try(self, what, name, fault, statuses):
        self.counts["tried"][what] += 1
        folder = self.runs.folder / f"{what} {self.counts['tried'][what]}"
        status, said = self._command(name, folder, fault)
        marker = self.runs.folder / f"{folder.name}.log.reached"
        reached = marker.read_text().strip() if marker.exists() else ""
        if not reached:
            return
        self.counts["reached"][what] += 1
        complaint = ""
        if status not in statuses or "Traceback" in said:
            complaint = f"status {status}: {said}"
        elif status == 2 and said.count("\nerror: ") + said.startswith("error: ") != 1:
            complaint = f"not one sentence: {said}"
        # What was whole before the fault, such as one in the removal of a lock, stays as it is.
        elif contents(folder) != self._expected[name]:
            status, said = self._command(name, folder)
            if status != 0:
                complaint = f"again: status {status}: {said}"
            elif contents(folder) != self._expected[name]:
                complaint = f"again: {differences(contents(folder), self._expected[name])}"
        if contents(self.inputs) != self._inputs:
            complaint += " an input was changed"
        if complaint:
            self.complaints.append(f"{what}: {fault} {reached}: {complaint}")
            tqdm.write(self.complaints[-1])
        else:
            self.counts["survived"][what] += 1
            shutil.rmtree(folder)

    def _command(self, name, folder, fault=None):
        folder.mkdir(exist_ok=True)
        log = self.runs.folder / f"{folder.name}.log.err"
        log.unlink(missing_ok=True)
        words = [word.replace("{in}", str(self.inputs)) for word in COMMANDS[name]]
        self.runs.start_command(folder.name, words, folder, fault=fault)
        status = self.runs.finish()
        lines = log.read_text().splitlines(keepends=True)
        return status, "".join(line for line in lines if "%|" not in line and line.strip())


def contents(folder):
    """Checksums of all files below a folder, by name; of a converted checkpoint, of its arrays.

    The library of the checkpoints draws names, and writes times.
    """
    result = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith("out/0/"):
            result[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if (folder / "out/0").exists():
        arrays, _ = pretrained.read_weights(folder / "out")
        result |= {key: hashlib.sha256(a.tobytes()).hexdigest() for key, a in arrays.items()}
    return result


def differences(found, expected):
    return [key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)]


def write_result(campaign):
    reached, survived = (sum(campaign.counts[key].values()) for key in ("reached", "survived"))
    result = {key: dict(sorted(count.items())) for key, count in campaign.counts.items()} | {
        "operations": campaign.operations,
        "lost": reached - survived,
        "complaints": campaign.complaints,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main(kills, errors):
    with tempfile.TemporaryDirectory() as folder:
        shim = operations.build(folder)
        assert shim is not None, "a C compiler is needed"
        with killing.Nursery(folder, shim=shim) as runs:
            campaign = Campaign(runs)
            for name in tqdm(available(), unit="command", disable=None):
                for _ in range(kills):
                    campaign.kill(name)
                for _ in range(errors):
                    campaign.fail(name)
                write_result(campaign)
    print(json.dumps(write_result(campaign), indent=1))
    return 1 if campaign.complaints else 0


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*(given + [20, 20][len(given) :])))
