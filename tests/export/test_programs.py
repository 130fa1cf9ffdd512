"""Exported programs in other runtimes, fresh processes among them, against the network itself."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import segalias_jax as sa
from segalias_jax import layers
from segalias_jax.errors import InputError
from segalias_jax.export import export_model, programs
from segalias_jax.inference import check_program, load_exported, load_trained
from segalias_jax.inference.exported import checksums
from segalias_jax.models.upernet import UPerNet

RELOAD = """
import sys
sys.modules["segalias_jax"] = None  # an import of it would fail
import jax, numpy as np
folder = sys.argv[1]
program = jax.export.deserialize(bytearray(open(folder + "/model.stablehlo", "rb").read()))
images = np.load(folder + "/images.npz")
np.savez(folder + "/logits.npz", **{name: program.call(images[name]) for name in images})
assert not [name for name in sys.modules if name.startswith(("segalias_jax.", "flax"))]
"""


SIZES = ((2, 33, 47), (1, 40, 56), (1, 32, 39))
# Compiling takes most of the time; what it saves on small images is nothing.
UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(scope="module")
def trained(run):
    return load_trained(run[1])


@pytest.fixture(scope="module")
def windows(images):
    return np.stack([image[:32, :32] for image in images])


@pytest.fixture(scope="module")
def logits(trained, windows):
    return np.asarray(jax.jit(trained.apply)(windows))


@pytest.fixture(scope="module")
def stablehlo(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stablehlo")
    export_model(trained, folder, format="stablehlo")
    return folder


def assert_close(found, expected):
    # Programs sum in other orders: 1e-4 on logits of size 20, which drawn weights exceed.
    bound = 1e-4 * max(1, np.abs(expected).max() / 20)
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def run_reloaded(folder, **images):
    """Logits of a program that a process without this package has read."""
    np.savez(folder / "images.npz", **images)
    command = [sys.executable, "-I", "-c", RELOAD, str(folder)]
    env = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stderr
    with np.load(folder / "logits.npz") as logits:
        return dict(logits)


def test_stablehlo_in_a_fresh_process_without_this_package(stablehlo, windows, logits):
    assert_close(run_reloaded(stablehlo, windows=windows)["windows"], logits)


class SmallNetwork(nnx.Module):
    """Every operation whose matrix depends on the size of the image, and few layers."""

    def __init__(self, rngs):
        self.stem = layers.ConvNormAct(3, 8, 3, stride=2, rngs=rngs)
        self.filter = layers.DeAliasingFilter(0.35, band="reference")
        self.down = layers.ConvNormAct(8, 16, 3, stride=2, rngs=rngs)
        self.mixer = layers.FreqMix(16, band="reference", gate="corner", rngs=rngs)
        self.decoder = UPerNet((8, 16), channels=8, pool_scales=(3,), rngs=rngs)
        self.classifier = layers.Conv(8, 8, rngs=rngs)
        self.eval()

    def __call__(self, x):
        fine = self.stem(x)
        coarse = self.mixer(self.down(self.filter(fine)))
        logits = self.classifier(self.decoder((fine, coarse)))
        return sa.ops.resize_bilinear(logits, x.shape[1:3])


@pytest.fixture(scope="module")
def small(trained):
    return dataclasses.replace(trained, model=SmallNetwork(nnx.Rngs(0)))


@pytest.fixture(scope="module")
def shown(images):
    """Even, odd and the smallest sides."""
    return {f"{h}x{w}": np.stack(images)[:n, :h, :w] for n, h, w in SIZES}


@pytest.fixture(scope="module")
def small_logits(small, shown):
    apply = jax.jit(small.apply, compiler_options=UNOPTIMIZED)
    return {name: np.asarray(apply(windows)) for name, windows in shown.items()}


def test_stablehlo_of_any_size(small, shown, small_logits, images, tmp_path):
    """Filter and gates as published."""
    export_model(small, tmp_path / "new", format="stablehlo", size="any")
    found = run_reloaded(tmp_path / "new", **shown)
    for name, expected in small_logits.items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-5)
    manifest = json.loads((tmp_path / "new/manifest.json").read_text())
    assert manifest["input"]["shape"] == ["batch", "height", "width", 3]
    whole = sa.Predictor(tmp_path / "new", mode="whole")
    with pytest.raises(InputError, match="sides of 32 to 8192 pixels, not 31x40; resize them"):
        whole(images[0][:31, :40])


@pytest.mark.parametrize(
    "options",
    [
        {"encoder": "convnext_tiny", "downsample": "daf"},
        {"encoder": "resnet18", "name": "semantic_fpn", "variant": "v1d", "downsample": "blur3"},
    ],
)
def test_networks_of_symbolic_size(options):
    """Height and width come out as they went in, whatever they are."""
    options = {"width": 8, "channels": 8, "auxiliary_channels": 8} | options
    model = nnx.eval_shape(lambda: sa.models.create_model(options, num_classes=5, rngs=nnx.Rngs(0)))
    model.eval()
    graph, state = nnx.split(model)
    image = jax.ShapeDtypeStruct(
        jax.export.symbolic_shape("b, h, w, 3", constraints=["h >= 32", "w >= 32"]), jnp.float32
    )
    with sa.ops.products_only():
        logits = jax.eval_shape(lambda state, x: nnx.merge(graph, state)(x), state, image)
    assert logits.shape == (*image.shape[:3], 5)


def test_manifest_says_what_the_program_takes_and_means(stablehlo, run):
    manifest = json.loads((stablehlo / "manifest.json").read_text())
    assert manifest["input"]["shape"] == ["batch", 32, 32, 3]
    assert manifest["output"]["shape"] == ["batch", 32, 32, 8]
    assert manifest["normalization"]["mean"] == [123.675, 116.28, 103.53]
    assert manifest["protocol"]["mode"] == "slide" and manifest["protocol"]["stride"] == [24, 24]
    assert manifest["recipe"] == run[0].name and len(manifest["classes"]) == 8


def test_predictor_of_the_program(stablehlo, run, images):
    found = sa.Predictor(stablehlo).probabilities(images[0])
    np.testing.assert_allclose(found, sa.Predictor(run[1]).probabilities(images[0]), atol=1e-5)
    whole = sa.Predictor(stablehlo, mode="whole")
    with pytest.raises(InputError, match="takes images of shape batchx32x32x3, not 1x40x56x3"):
        whole(images[0])
    other, fitting = whole.stream([images[0], images[0][:32, :32]])
    assert "not 1x40x56x3" in str(other.error) and other.prediction is None
    assert fitting.prediction.classes().shape == (32, 32)
    with pytest.raises(InputError, match="exported program; leave config out"):
        sa.Predictor(stablehlo, config=run[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"model.downsample": "flc", "model.mixer": "none"},
        {"model.band": "reference", "model.gate": "corner", "model.cutoff": 0.35},
    ],
)
def test_no_program_contains_a_transform(make_run, monkeypatch, changes):
    """Neither where the network itself takes one: large images, on one device."""
    config, folder = make_run(**changes)
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)
    trained = load_trained(folder)
    image = jax.ShapeDtypeStruct((1, 512, 1216, 3), jnp.uint8)
    own = str(jax.make_jaxpr(trained.apply)(image))
    assert ("fft" in own) == (changes.get("model.downsample") != "flc")
    with sa.ops.products_only():
        (batch,) = jax.export.symbolic_shape("batch")
        image = jax.ShapeDtypeStruct((batch, 512, 1216, 3), jnp.uint8)
        exported = jax.export.export(jax.jit(trained.apply), platforms=("cpu",))(image)
    text = exported.mlir_module()
    assert "stablehlo.convolution" in text and "fft" not in text


def test_onnx(trained, windows, logits, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    path = export_model(trained, tmp_path, format="onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for rows in (1, 3):
        (found,) = session.run(["logits"], {"image": windows[:rows]})
        assert_close(found, logits[:rows])
    message = r"^\S+ holds a program of format onnx; predict with one of format stablehlo$"
    with pytest.raises(InputError, match=message):
        load_exported(tmp_path)


def test_onnx_of_any_size(small, shown, small_logits, tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    path = export_model(small, tmp_path, format="onnx", size="any")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for name, expected in small_logits.items():
        (found,) = session.run(["logits"], {"image": shown[name]})
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert {"Sin", "Shape"} < operators and not operators & {"DFT", "STFT"}
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert image.shape == ["batch", "height", "width", 3]
    assert logits.shape == ["batch", "height", "width", 8]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["input"]["shape"] == image.shape and manifest["sides"] == [32, 8192]


def test_savedmodel(trained, windows, logits, tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = export_model(trained, tmp_path, format="savedmodel")
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    for rows in (1, 3):
        assert_close(served(image=tf.constant(windows[:rows]))["logits"].numpy(), logits[:rows])


def test_errors(trained, make_run, tmp_path, monkeypatch):
    new = tmp_path / "new"
    with pytest.raises(InputError, match="choose one of stablehlo, onnx, savedmodel"):
        export_model(trained, new, format="tflite")
    with pytest.raises(InputError, match=r"size is \(0, 8\); give height"):
        export_model(trained, new, format="stablehlo", size=(0, 8))
    with pytest.raises(InputError, match="batch is 0"):
        export_model(trained, new, format="stablehlo", batch=0)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/new: cannot be made \(Not a directory\)"):
        export_model(trained, tmp_path / "file/new", format="stablehlo")
    with pytest.raises(InputError, match="is there already"):
        export_model(trained, tmp_path.parent, format="stablehlo")
    with monkeypatch.context() as patch:
        patch.setattr("segalias_jax.export.onnx_graph.onnx", None)
        with pytest.raises(InputError, match=r"pip install 'segalias_jax\[onnx\]'"):
            export_model(trained, new, format="onnx")
        patch.setitem(sys.modules, "tensorflow", None)
        with pytest.raises(InputError, match=r"pip install 'segalias_jax\[savedmodel\]'"):
            export_model(trained, tmp_path / "other", format="savedmodel")
        patch.setitem(sys.modules, "flatbuffers", None)
        with pytest.raises(InputError, match="need the package flatbuffers; pip install flatbuf"):
            export_model(trained, new, format="stablehlo")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]  # halves are removed
    with pytest.raises(InputError, match="frequency_low_cut needs a fixed size; export with --si"):
        flc = dataclasses.replace(trained, model=layers.FrequencyLowCut(2))
        export_model(flc, new, format="stablehlo", size="any")
    with pytest.raises(InputError, match="more than 32 pixels; export it with a fixed size"):
        small = nnx.Sequential(layers.BlurPool(3, stride=16), layers.BlurPool(7))
        blur = dataclasses.replace(trained, model=small)
        export_model(blur, new, format="stablehlo", size="any")
    magnitude = load_trained(make_run(**{"model.gate": "magnitude"})[1])
    with pytest.raises(InputError, match="computes a Fourier transform"):
        export_model(magnitude, new, format="stablehlo", size="any")
    assert not new.exists()


WAITING = """
import sys, time
from pathlib import Path
from segalias_jax.export.programs import _written_whole
with _written_whole(Path(sys.argv[1])) as temporary:
    (temporary / "half").mkdir()
    (temporary / "half/model").write_text("ha")
    print("waiting", flush=True)
    time.sleep(100)
"""


def test_a_killed_export_leaves_nothing_in_the_way(trained, tmp_path, monkeypatch):
    """While one writes, another is refused; what a killed one left is no part of the next."""

    def write_one(function, inputs, outputs, path):
        path.write_text("x")

    monkeypatch.setitem(programs.WRITERS, "onnx", ("model.onnx", write_one))
    new = tmp_path / "new"
    command = [sys.executable, "-c", WAITING, str(new)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waiting\n" and not new.exists()
        with pytest.raises(InputError, match="new: another export is writing it"):
            export_model(trained, new, format="onnx")
        assert (tmp_path / ".new.tmp/half/model").exists()
        process.kill()
    new.mkdir()  # an empty one is as good as none
    export_model(trained, new, format="onnx")
    assert sorted(path.name for path in new.iterdir()) == ["manifest.json", "model.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_a_full_disk_is_one_sentence(trained, tmp_path, monkeypatch):
    def write(function, inputs, outputs, path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(programs.WRITERS, "onnx", ("model.onnx", write))
    with pytest.raises(InputError, match=r"new: cannot be written \(No space left on device\)"):
        export_model(trained, tmp_path / "new", format="onnx")
    assert not any(tmp_path.iterdir())


def test_programs_of_other_bytes_are_refused(stablehlo, tmp_path):
    """One flipped bit, of a constant, say, would go unnoticed; older manifests have no sha256."""
    folder = tmp_path / "copy"
    shutil.copytree(stablehlo, folder)
    path, manifest = folder / "model.stablehlo", folder / "manifest.json"
    data = bytearray(path.read_bytes())
    content = json.loads(manifest.read_text())
    assert content["sha256"] == hashlib.sha256(data).hexdigest()
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="model.stablehlo: its sha256 is not the one in manifest"):
        load_exported(folder)
    path.write_bytes((stablehlo / "model.stablehlo").read_bytes())
    del content["sha256"]
    manifest.write_text(json.dumps(content))
    assert load_exported(folder).manifest == content


def test_folders_of_programs_are_checked_file_by_file(tmp_path):
    """As a SavedModel is one; TensorFlow is not needed to compare its files."""
    program = tmp_path / "saved_model"
    (program / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "variables/a"):
        (program / name).write_bytes(name.encode())
    manifest = {"format": "savedmodel", "file": "saved_model", "align_corners": False}
    manifest |= {"input": {"shape": ["batch", 8, 8, 3]}, "protocol": {"window": [8, 8]}}
    manifest |= {"classes": ["a"], "palette": [[0, 0, 0]], "sha256": checksums(program)}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert check_program(tmp_path) == program
    (program / "variables/a").write_bytes(b"variables/A")
    with pytest.raises(InputError, match="saved_model/variables/a: its sha256 is not the one in"):
        check_program(tmp_path)
    (program / "variables/a").unlink()
    with pytest.raises(InputError, match="saved_model/variables/a: its sha256 is not the one in"):
        check_program(str(tmp_path))


def test_damaged_programs(tmp_path):
    manifest = {"format": "stablehlo", "file": "model.stablehlo", "align_corners": False}
    manifest |= {"input": {"shape": ["batch", 8, 8, 3]}, "protocol": {"window": [8, 8]}}
    manifest |= {"classes": ["a"], "palette": [[0, 0, 0]]}
    path = tmp_path / "manifest.json"
    for changes in (
        {"input": {"shape": [8, 8]}},
        {"protocol": "slide"},
        {"palette": [[0, 0, 256]]},
        {"classes": ["a", "b"]},
    ):
        path.write_text(json.dumps(manifest | changes))
        with pytest.raises(InputError, match="is damaged"):
            load_exported(tmp_path)
    path.write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        load_exported(tmp_path)
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"model.stablehlo: cannot be read"):
        load_exported(tmp_path)
    for content in (b"", b"junk that is no program", bytes(1000)):
        (tmp_path / "model.stablehlo").write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            load_exported(tmp_path)
