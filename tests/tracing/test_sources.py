"""Lines of operations: one's own, or else the innermost one of a package."""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from segalias_jax import layers
from segalias_jax.tracing import sources
from segalias_jax.tracing.sources import source_line


def origin(function, *arguments):
    return jax.make_jaxpr(function)(*arguments).eqns[0].source_info


def test_own_lines_come_first():
    line = inspect.currentframe().f_lineno + 1
    found = source_line(origin(lambda x: layers.DeAliasingFilter(0.3)(x), jnp.ones((8, 8, 1))))
    assert found == f"{Path(__file__).name}:{line}"


def test_where_all_is_installed():
    found = source_line(origin(optax.safe_increment, jnp.int32(0)))
    assert not found.startswith(("test_", "lax", "jax")) and found.partition(":")[2].isdecimal()


def test_where_nothing_is_known():
    assert source_line(jax.extend.source_info_util.new_source_info()) == ""


def test_jax_that_is_installed_elsewhere_is_no_code_of_ones_own(monkeypatch):
    """As with packages of a user or of a Linux distribution beside a virtual environment."""
    monkeypatch.setattr(sources.sysconfig, "get_path", lambda name: f"/nowhere/{name}")
    sources._place_of.cache_clear()
    found = source_line(origin(optax.safe_increment, jnp.int32(0)))
    sources._place_of.cache_clear()
    assert found.startswith("numerics.py:"), "optax's line, not one inside of JAX"
