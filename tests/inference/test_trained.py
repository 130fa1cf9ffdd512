"""Networks out of run folders, and folders that are none."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util
from published import settle_rngs

import segalias_jax as sa
from segalias_jax import models, ops
from segalias_jax.checkpoints import CheckpointStore
from segalias_jax.errors import InputError
from segalias_jax.export import export_model
from segalias_jax.inference import load_exported, predictor
from segalias_jax.inference.trained import TrainedModel, load_trained
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.recipes import flat_items, nested_recipe
from segalias_jax.runs.workdir import CHECKPOINTS, save_recipe
from segalias_jax.torch_weights.names import leaves
from segalias_jax.training.state import split_model


def test_recipes_survive_the_run_folder(run):
    there = json.loads((run[1] / "recipe.json").read_text())
    assert flat_items(nested_recipe(there)) == flat_items(run[0])


def test_what_was_recomputed_in_training_plays_no_part(run, tmp_path):
    """The recipe's numbers of stages; False, which an older version wrote, too."""
    copy = tmp_path / "run"
    shutil.copytree(run[1], copy)
    recipe = json.loads((copy / "recipe.json").read_text())
    for stages in ([1, 2], False):
        (copy / "recipe.json").write_text(json.dumps(recipe | {"model.remat": stages}))
        assert load_trained(copy).model.encoder.remat == ()


def test_errors_in_the_run(run, tmp_path):
    config, folder = run
    with pytest.raises(InputError, match="has a recipe of its own; leave config out"):
        sa.Predictor(folder, config=config)
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    names = json.loads((copy / "classes.json").read_text())
    names["classes"].pop()
    (copy / "classes.json").write_text(json.dumps(names))
    with pytest.raises(InputError, match="network has 8 classes, but 7 are named"):
        sa.Predictor(copy)
    (copy / "classes.json").write_text("{")
    with pytest.raises(InputError, match=r"classes.json is damaged"):
        sa.Predictor(copy)
    (copy / "classes.json").unlink()
    assert sa.Predictor(copy).classes[1] == "disc"  # known by the name of the data set
    recipe = json.loads((copy / "recipe.json").read_text())
    (copy / "recipe.json").write_text(json.dumps(recipe | {"model.width": 16}))
    with pytest.raises(InputError, match="does not fit the model"):
        sa.Predictor(copy)
    (copy / "recipe.json").unlink()
    with pytest.raises(InputError, match="has no recipe.json; pass config, the recipe"):
        sa.Predictor(copy)
    unnamed = config.copy_and_resolve_references()
    unnamed.data.source = "mine"
    assert sa.Predictor(copy, config=unnamed).classes[:2] == ("0", "1")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError, match="holds no checkpoint"):
        sa.Predictor(copy)


def test_branches_of_training_are_folded(detector_recipe, tmp_path):
    """Programs and predictions of a detector have none; test_folding says that it is the same."""
    config = detector_recipe.copy_and_resolve_references()
    config.model.mixer = "scb"
    section, random = config.model.to_dict(), np.random.default_rng(0)
    model = nnx.eval_shape(lambda: models.create_detector(section, num_classes=3, rngs=nnx.Rngs(0)))
    settle_rngs(model)
    for leaf in leaves(model).values():
        leaf.set_value(jnp.asarray(random.normal(size=leaf.shape), jnp.float32))
    _, parameters, statistics = split_model(model)
    save_recipe(flat_items(config), tmp_path)
    with CheckpointStore(tmp_path / CHECKPOINTS) as store:
        store.save(0, {"parameters": parameters, "statistics": statistics})
    found = load_trained(tmp_path).model
    block, whole = found.encoder.stages[1][0], model.encoder.stages[1][0]
    assert all(block.branch is None for stage in found.encoder.stages for block in stage)
    kernel = np.asarray(whole.branch.folded(whole.conv2.kernel[...]))
    assert np.abs(kernel - whole.conv2.kernel[...]).max() > 0.1
    np.testing.assert_allclose(block.conv2.kernel[...], kernel, rtol=1e-6, atol=1e-6)


MY_ENCODERS = """
import functools
from segalias_jax.models import ENCODERS

class Mine(ENCODERS["resnet18"]):
    @functools.wraps(ENCODERS["resnet18"].__init__)  # whose keywords are read
    def __init__(self, name, **options):
        super().__init__("resnet18", **options)

ENCODERS["mine"] = Mine
"""


def test_modules_of_the_recipe_are_imported_first(run, tmp_path, monkeypatch):
    """They may add an encoder that the recipe names."""
    folder = tmp_path / "run"
    shutil.copytree(run[1], folder)
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe |= {"model.imports": ["my_encoders_of_a_test"], "model.encoder": "mine"}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(InputError, match="imports names 'my_encoders_of_a_test', which cannot be"):
        load_trained(folder)
    (tmp_path / "my_encoders_of_a_test.py").write_text(MY_ENCODERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sa.models.ENCODERS, "mine", None)  # and away again at the end
    assert load_trained(folder).classes == load_trained(run[1]).classes


class Doubling(nnx.Module):
    def __call__(self, x):
        return 2 * x


@pytest.mark.parametrize("band", ["square", "round"])
def test_what_was_trained_at_a_final_ratio_is_predicted_through_it(band, tmp_path, monkeypatch):
    """By the predictor, window by window, and by an exported program alike."""
    items = {"name": "a", "train.steps": 4, "schedule.warmup_steps": 0}
    items |= {"data.crop": (16, 12), "model.align_corners": False}
    items |= {"eval.mode": "slide", "eval.stride": (16, 12), "eval.batch_size": 2}
    items |= {"curriculum.ratio": 0.5, "curriculum.evaluate": "final", "curriculum.band": band}
    palette = np.zeros((3, 3), np.uint8)
    trained = TrainedModel(
        Doubling(), Recipe.from_config(nested_recipe(items)), ("a", "b", "c"), palette
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 12, 3), np.uint8)
    normalized = (images - np.array(ops.IMAGENET_MEAN)) / ops.IMAGENET_STD
    spectrum = np.fft.rfft2(normalized, axes=(1, 2))
    mask = np.asarray(ops.ratio_mask((16, 12), jnp.float32(0.5), band=band))
    logits = 2 * np.fft.irfft2(spectrum * mask[..., None], s=(16, 12), axes=(1, 2))
    np.testing.assert_allclose(trained.apply(jnp.asarray(images)), logits, atol=2e-5)
    monkeypatch.setattr(predictor, "load_trained", lambda run, config: trained)
    both = np.concatenate(images, 1)
    expected = np.concatenate(logits, 1).argmax(-1)
    np.testing.assert_array_equal(sa.Predictor("run")(both), expected)
    export_model(trained, tmp_path / "new", format="stablehlo")
    exported = load_exported(tmp_path / "new")
    np.testing.assert_allclose(exported.forward(images), logits, atol=2e-5)


def test_recipes_without_a_curriculum_see_everything():
    palette = np.zeros((3, 3), np.uint8)
    trained = TrainedModel(Doubling(), Recipe(), ("a",), palette)
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), np.uint8))
    np.testing.assert_array_equal(trained.network_input(image), ops.normalize_image(image))


def test_an_adaptive_ratio_comes_with_the_checkpoint(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[1], folder)
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe |= {"curriculum.schedule": "adaptive", "curriculum.evaluate": "final"}
    (folder / "recipe.json").write_text(json.dumps(recipe | {"curriculum.ratio": 0.2}))
    with CheckpointStore(folder / "checkpoints") as store:
        tree = traverse_util.unflatten_dict(store.read(), sep="/")
        store.save(1, tree | {"ratio": np.float32(0.4)})
        store.set_score(1, 0.5)
    trained = load_trained(folder)
    assert trained.ratio == np.float32(0.4)
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (1, 16, 12, 3), np.uint8))
    expected = ops.ratio_low_pass(ops.normalize_image(image), 0.4)
    np.testing.assert_allclose(trained.network_input(image), expected, atol=1e-5)
