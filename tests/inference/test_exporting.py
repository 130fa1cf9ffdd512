"""Exported programs in other runtimes, fresh processes among them, against the network itself."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import segalias_jax as sa
from segalias_jax.errors import InputError
from segalias_jax.inference import export_model, load_exported, load_trained

RELOAD = """
import sys
sys.modules["segalias_jax"] = None  # an import of it would fail
import jax, numpy as np
folder = sys.argv[1]
program = jax.export.deserialize(bytearray(open(folder + "/model.stablehlo", "rb").read()))
logits = program.call(np.load(folder + "/image.npy"))
np.save(folder + "/logits.npy", np.asarray(logits))
assert not [name for name in sys.modules if name.startswith(("segalias_jax.", "flax"))]
"""


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


def test_stablehlo_in_a_fresh_process_without_this_package(stablehlo, windows, logits):
    np.save(stablehlo / "image.npy", windows)
    command = [sys.executable, "-I", "-c", RELOAD, str(stablehlo)]
    result = subprocess.run(command, capture_output=True, text=True, env={"JAX_PLATFORMS": "cpu"})
    assert result.returncode == 0, result.stderr
    assert_close(np.load(stablehlo / "logits.npy"), logits)


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
    with pytest.raises(InputError, match="takes images of shape batchx32x32x3, not 2x40x56x3"):
        whole(images[0])
    with pytest.raises(InputError, match="exported program; leave --config out"):
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
    with pytest.raises(InputError, match="of format onnx; predict with one of format stablehlo"):
        load_exported(tmp_path)


def test_savedmodel(trained, windows, logits, tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = export_model(trained, tmp_path, format="savedmodel")
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    for rows in (1, 3):
        assert_close(served(image=tf.constant(windows[:rows]))["logits"].numpy(), logits[:rows])


def test_mistakes(trained, make_run, tmp_path, monkeypatch):
    new = tmp_path / "new"
    with pytest.raises(InputError, match="choose one of stablehlo, onnx, savedmodel"):
        export_model(trained, new, format="tflite")
    with pytest.raises(InputError, match="eval.window is"):
        export_model(trained, new, format="stablehlo", size=(0, 8))
    with pytest.raises(InputError, match="batch is 0"):
        export_model(trained, new, format="stablehlo", batch=0)
    with pytest.raises(InputError, match="is there already"):
        export_model(trained, tmp_path.parent, format="stablehlo")
    with monkeypatch.context() as patch:
        patch.setattr("segalias_jax.inference.onnx_graph.onnx", None)
        with pytest.raises(InputError, match=r"pip install 'segalias_jax\[onnx\]'"):
            export_model(trained, new, format="onnx")
        patch.setitem(sys.modules, "tensorflow", None)
        with pytest.raises(InputError, match=r"pip install 'segalias_jax\[savedmodel\]'"):
            export_model(trained, tmp_path / "other", format="savedmodel")
    magnitude = load_trained(make_run(**{"model.gate": "magnitude"})[1])
    with pytest.raises(InputError, match="computes a Fourier transform"):
        export_model(magnitude, new, format="stablehlo")
    assert not new.exists()


def test_damaged_programs(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        load_exported(tmp_path)
    text = '{"format": "stablehlo", "file": "model.stablehlo"}'
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="cannot be read"):
        load_exported(tmp_path)
