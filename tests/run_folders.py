"""A run folder, made without training: a small network with drawn weights."""

import sys
from pathlib import Path

import jax
import numpy as np
import published
import pytest
from golden.recipe import recipe_array
from jax.experimental.compilation_cache import compilation_cache

from segalias_jax import data
from segalias_jax.checkpoints import CheckpointStore
from segalias_jax.runs import recipes
from segalias_jax.runs.workdir import CHECKPOINTS, save_classes, save_recipe
from segalias_jax.training.state import split_model

ROOT = Path(__file__).parents[1]
NETWORK = {
    "model.encoder": "resnet18",
    "model.width": 8,
    "model.channels": 8,
    "model.auxiliary_channels": 8,
    "model.reduction": 4,
    "data.image_size": (40, 56),
    "data.crop": (32, 32),
    "data.num_eval": 3,
    "eval.mode": "slide",
    "eval.stride": (24, 24),
    "eval.batch_size": 2,
    "eval.images": 0,
}


@pytest.fixture(scope="session")
def compile_once(tmp_path_factory):
    """The same small programs are asked for by several tests and processes."""
    keys = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, key) for key in keys]
    folder = tmp_path_factory.mktemp("cache")
    for key, value in zip(keys, (str(folder), 0.1), strict=True):
        jax.config.update(key, value)
    compilation_cache.reset_cache()
    yield folder
    for key, value in zip(keys, before, strict=True):
        jax.config.update(key, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def make_run(tmp_path_factory, compile_once):
    """Returns `make(**changes)`: a recipe and the folder of its run."""
    sys.path.insert(0, str(ROOT))

    def make(**changes):
        config = recipes.load_recipe(f"{ROOT}/configs/quickstart.py")
        config.update_from_flattened_dict(NETWORK | changes)
        source = data.create_source(config.data, "val")
        model = published.create_published(
            config.model, recipe_array, num_classes=len(source.classes)
        )
        _, parameters, statistics = split_model(model)
        folder = tmp_path_factory.mktemp("run")
        save_recipe(recipes.flat_items(config), folder)
        save_classes(folder, source.classes, source.palette)
        with CheckpointStore(folder / CHECKPOINTS) as store:
            store.save(0, {"parameters": parameters, "statistics": statistics})
        return config, folder

    yield make
    sys.path.remove(str(ROOT))


@pytest.fixture(scope="session")
def run(make_run):
    """A recipe and the folder of its run."""
    return make_run()


@pytest.fixture(scope="session")
def images(run):
    """Three of its images."""
    source = data.create_source(run[0].data, "val")
    return [np.asarray(source[i]["image"]) for i in range(3)]
