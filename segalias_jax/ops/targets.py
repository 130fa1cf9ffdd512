"""What a program is compiled for, which decides the form of some operators.

It is the machine that runs this process, unless `target` says otherwise: a program for a TPU pod is
lowered on a workstation, and a mesh may hold fewer devices than the process sees.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator

import jax

from segalias_jax.errors import InputError, check_choice

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@dataclasses.dataclass(frozen=True)
class Target:
    """What a program is compiled for.

    Attributes:
      devices: how many devices run it.
      platform: "cpu", "cuda", "rocm" or "tpu".

    Example:
      >>> Target(1, "tpu").one_device
      True
    """

    devices: int
    platform: str

    @property
    def one_device(self) -> bool:
        """Whether nothing can be sharded."""
        return self.devices == 1


_target: contextvars.ContextVar[Target | None] = contextvars.ContextVar("target", default=None)


@contextlib.contextmanager
def target(devices: int, platform: str) -> Iterator[Target]:
    """Within, operators take the form for these devices instead of for those of this process.

    The form is chosen while a function is traced. A function that was traced before, and that
    `jax.jit` still knows by its arguments' shapes, keeps the form it has: lower or call a new one.

    Args:
      devices: how many devices run the program, 1 or more.
      platform: "cpu", "cuda", "rocm" or "tpu".

    Raises:
      InputError: no device, or another platform.

    Example:
      >>> import jax.numpy as jnp
      >>> from segalias_jax import ops
      >>> x = jax.ShapeDtypeStruct((1, 512, 1024, 3), jnp.float32)
      >>> with target(1, "tpu"):
      ...     program = jax.jit(lambda x: ops.low_pass(x, 0.25)).trace(x)
      >>> "fft" in str(program.jaxpr)
      False
    """
    if devices < 1:
        raise InputError(f"devices is {devices}, but a program needs one at least")
    check_choice("platform", platform, PLATFORMS)
    token = _target.set(Target(devices, platform))
    try:
        yield current_target()
    finally:
        _target.reset(token)


def current_target() -> Target:
    """Returns what programs are compiled for: as `target` says, else this process's own devices.

    Example:
      >>> with target(256, "tpu"):
      ...     current_target()
      Target(devices=256, platform='tpu')
    """
    return _target.get() or Target(jax.device_count(), platform_name(jax.default_backend()))


def platform_name(platform: str) -> str:
    """Returns the name in `PLATFORMS` of what jax calls the platform of a device.

    Args:
      platform: such as "gpu", which jax says of both kinds of them; what operators choose is the
        same for both.

    Returns:
      The name; another platform's own.

    Example:
      >>> platform_name("gpu")
      'cuda'
    """
    return "cuda" if platform == "gpu" else platform
