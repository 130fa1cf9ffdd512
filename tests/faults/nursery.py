"""Starts small runs by forking, so that a restart costs no imports: a request per line of stdin.

A request is {"workdir", "log", "changes", "fault"}, or {"words", "folder", "log", "fault"} for
another command than training; the answers are the child's process id and, at its end, its exit
status (negative: the signal). What a run does is appended to the log: its phases, and the images of
every step.
"""

import argparse
import ctypes
import datetime
import hashlib
import json
import os
import sys
import traceback
from pathlib import Path
from unittest import mock

import jax
from drawn_objects import make_detector
from flax import nnx

from segalias_jax import cli, data, layers, models
from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.data.instance_source import InstanceStream
from segalias_jax.inference import command as predict
from segalias_jax.runs import command, recipes, setup
from segalias_jax.runs.tasks import bind, parse_recipe
from segalias_jax.scoring.reports import folder as report
from segalias_jax.training.goodput import Account
from segalias_jax.training.sharding import create_mesh

ROOT = Path(__file__).parents[2]
SHORT = {
    "train.steps": 100,
    "train.eval_every": 10,
    "train.log_every": 3,
    "train.batch_size": 4,
    "train.ema_decay": 0.9,
    "checkpoint.every": 4,
    "eval.batch_size": 2,
    "eval.images": 1,
    "schedule.warmup_steps": 5,
    "data.flip": 0.0,
    "data.threads": 2,
}
SMALL = SHORT | {
    "data.crop": (32, 32),
    "data.image_size": (32, 32),
    "data.num_train": 16,
    "data.num_eval": 6,
}
# Of detectors, on what `drawn_objects.write_coco` draws; "data.root" says where.
OBJECTS = SHORT | {
    "data.short": (48, 48),
    "data.long": 64,
    "data.padded": (),
    "data.max_objects": 4,
    "schedule.name": "poly",
    "schedule.milestones": (),
    "eval.headline": "PQ",
}


class Network(nnx.Module):
    """Has everything that a checkpoint must carry: statistics, a random state, parameters."""

    def __init__(self, num_classes, rngs):
        self.encoder = layers.ConvNormAct(3, 8, 3, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.decoder = layers.Conv(8, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.decoder(self.dropout(self.encoder(x)))

    def with_auxiliary(self, x):
        return self(x), ()


def create_network(config, num_classes, rngs):
    return Network(num_classes, rngs)


def create_detector(config, *, num_classes, rngs):
    return make_detector()


def make_config(changes):
    """The recipe of the quickstart, or of detectors where the changes say where their data is."""
    objects = "data.root" in changes
    config = recipes.load_recipe("coco_instances:baseline" if objects else "quickstart")
    small = OBJECTS if objects else SMALL
    flat = {key: tuple(v) if isinstance(v, list) else v for key, v in (small | changes).items()}
    config.update_from_flattened_dict(flat)
    return config


def watch(log):
    """Makes phases and batches leave a line in the log."""

    def write(*words):
        os.write(file, (" ".join(map(str, words)) + "\n").encode())

    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    start, batches, objects = Account.start, data.train_batches, InstanceStream.start

    def logged_start(account, phase):
        if phase != account._phase:
            write("phase", phase)
        start(account, phase)

    def logged(source, stream, start_step):
        names = {digest(source[i]["image"]): name for i, name in enumerate(source.names)}
        for step, batch in enumerate(stream, start_step + 1):
            images = batch["image"]
            if "size" in batch:  # without their padding
                images = [x[:h, :w] for x, (h, w) in zip(images, batch["size"], strict=True)]
            write("images", step, *(names[digest(image)] for image in images))
            yield batch

    def logged_batches(config, source, *, start_step, **options):
        stream = batches(config, source, start_step=start_step, **options)
        return logged(source, stream, start_step)

    Account.start, data.train_batches = logged_start, logged_batches
    InstanceStream.start = lambda self, step: logged(self.source, objects(self, step), step)
    return write


def digest(image):
    return hashlib.md5(image.tobytes()).hexdigest()


def cache_programs():
    """Caching all programs, however small, is what makes a start quick."""
    jax.config.update("jax_compilation_cache_dir", os.environ["FAULTS_CACHE"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    setup.enable_compilation_cache = predict.enable_compilation_cache = lambda: None


def arm(folder, log, fault):
    """Lets the preloaded shim count from here on."""
    shim = ctypes.CDLL(None)
    numbers = (ctypes.c_long(fault[key]) for key in ("at", "kinds", "error", "lasting"))
    shim.fault_arm(f"{folder}/".encode(), f"{log}.reached".encode(), *numbers)
    return lambda: [shim.fault_count(1 << bit) for bit in range(6)]


def run(workdir, log, changes, fault):
    write = watch(log)
    models.create_model, models.create_detector = create_network, create_detector
    cache_programs()
    flags = argparse.Namespace(config=make_config(changes), workdir=Path(workdir), resume="auto")
    flags.profile, flags.coordinator, flags.num_processes, flags.process_id = False, "", -1, -1
    # As the command line does, which has read the flags by then.
    cli.parse_command = lambda words: (command.run_training, flags)
    counted = arm(workdir, log, fault) if fault else None
    status = cli.main(["train"])
    if counted:
        write("operations", *counted())
    if status == 0:
        write("end")
    return status


def run_command(words, folder, log, fault):
    """Runs a command in a folder, below which its operations count."""
    cache_programs()
    clock = mock.Mock()  # reports have their date in them, by which alone they would differ
    clock.datetime.now.return_value = datetime.datetime(2026, 1, 1)
    report.datetime = clock
    os.chdir(folder)
    counted = arm(folder, log, fault) if fault else None
    status = cli.main(words)
    if counted:
        Path(f"{log}.operations").write_text(json.dumps(counted()))
    return status


def main():
    sys.path.insert(0, str(ROOT))
    sys.path.insert(0, str(ROOT / "tests"))
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            errors = os.open(request["log"] + ".err", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(errors, 1)
            os.dup2(errors, 2)
            status = 1
            try:
                status = (run_command if "words" in request else run)(**request)
            except Exception:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def final_arrays(workdir, changes):
    """Every array of the last checkpoint, by path."""
    recipe = parse_recipe(make_config(changes))
    binding = bind(recipe)
    binding.open_scored()
    task = binding.create_task()
    with (
        mock.patch.object(models, "create_model", create_network),
        mock.patch.object(models, "create_detector", create_detector),
    ):
        trainer = setup.create_trainer(recipe, task, binding.create_model(task), create_mesh())
    with CheckpointStore(Path(workdir) / "checkpoints") as store:
        state = store.restore(trainer.state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): numbers(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def numbers(leaf):
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.device_get(jax.random.key_data(leaf) if is_key else leaf)


if __name__ == "__main__":
    main()
