"""The quickstart at its smallest, and how its commands are started."""

import os
from importlib import metadata

TINY = (
    "--config.train.steps=4",
    "--config.train.eval_every=2",
    "--config.train.log_every=1",
    "--config.train.batch_size=2",
    "--config.eval.batch_size=2",
    "--config.eval.images=1",
    "--config.schedule.warmup_steps=1",
    "--config.data.image_size=64,64",
    "--config.data.crop=64,64",
    "--config.data.num_train=4",
    "--config.data.num_eval=3",
    "--config.model.width=8",
    "--config.model.channels=8",
    "--config.model.auxiliary_channels=8",
    "--config.model.reduction=4",
)

# Compiling takes most of the time of small runs, and what it saves there is nothing.
QUICK_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# The older writers of loops compile quicker. Later versions lack them and end at an unknown flag.
if metadata.version("jaxlib").startswith("0.10."):
    QUICK_FLAGS += " --xla_cpu_use_fusion_emitters=false"


def environment(folder):
    """Returns the variables of a process that keeps all that it compiles in a folder."""
    return os.environ | {
        "XLA_FLAGS": QUICK_FLAGS,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        # The many small programs of a start, too.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
