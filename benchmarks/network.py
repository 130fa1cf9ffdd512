"""What does a whole network cost, beside PyTorch's, and what do DAF and FreqMix add?

    python benchmarks/network.py [--repeats N] [--baseline]

UPerNet-R50 with 128 decoder channels, with and without the filter and the mixer, in turn: a forward
pass on one 512x512 image (1024x2048 in bfloat16 on a GPU), and a whole training step (SGD with
momentum, cross-entropy, auxiliary head) on two 256x256 crops. Operations and bytes are those of the
compiled programs. On a CPU with torch installed the baseline also runs in PyTorch, on two threads,
with the same weights and, as is checked first, the same logits: `peer / ours` above 1 means that
ours is faster.
"""

from __future__ import annotations

import argparse
import copy
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from common import markdown, save, torch
from common import medians as in_turn
from flax import nnx

from segalias_jax import models
from segalias_jax.losses import segmentation_loss

if torch:
    import pytorch_models

    from segalias_jax.torch_weights.load import torch_arrays
    from segalias_jax.torch_weights.names import leaves

CLASSES = 19
RATE, MOMENTUM = 0.01, 0.9
THREADS = 2
VARIANTS = {
    "baseline": {},
    "daf": {"downsample": "daf"},
    "freqmix": {"mixer": "freqmix"},
    "daf,freqmix": {"downsample": "daf", "mixer": "freqmix"},
}


def build(options: dict) -> tuple:
    """Structure, parameters and statistics of a network."""

    def create():
        return models.create_model(options, num_classes=CLASSES, rngs=nnx.Rngs(0))

    graph = nnx.split(nnx.eval_shape(create), nnx.Param, ...)[0]
    return graph, *jax.jit(lambda: nnx.split(create(), nnx.Param, ...)[1:])()


def forward(graph, params, rest, x):
    """Logits in evaluation mode."""
    model = nnx.merge(graph, params, rest, copy=True)
    model.eval()
    return model(x)


def train_step(graph, params, rest, velocity, x, label):
    """One update by SGD with momentum."""

    def loss(params):
        model = nnx.merge(graph, params, rest, copy=True)
        model.train()
        value = segmentation_loss(*model.with_auxiliary(x), label)
        return value, nnx.split(model, nnx.Param, ...)[2]

    (value, rest), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
    return jax.tree.map(lambda p, v: p - RATE * v, params, velocity), rest, velocity, value


def compiled(function, arguments: tuple, *, donated: tuple[int, ...] = ()):
    """A compiled program."""
    return jax.jit(function, donate_argnums=donated).lower(*arguments).compile()


def our_forward(options: dict, x) -> tuple[Callable[[], None], dict]:
    """A call of our forward pass, and the cost of its program."""
    graph, params, rest = build(options)
    program = compiled(functools.partial(forward, graph), (params, rest, x))
    return lambda: jax.block_until_ready(program(params, rest, x)), program.cost_analysis()


def our_step(options: dict, x, label) -> tuple[Callable[[], None], dict]:
    """A call of our training step, which continues from its own result, and its program's cost."""
    graph, params, rest = build(options)
    state = [params, rest, jax.tree.map(jnp.zeros_like, params)]
    step = functools.partial(train_step, graph)
    program = compiled(step, (*state, x, label), donated=(0, 1, 2))

    def call():
        *state[:], value = program(*state, x, label)
        jax.block_until_ready((state, value))

    return call, program.cost_analysis()


def torch_network():
    """PyTorch's network with our weights, checked to compute what ours does."""
    torch.set_num_threads(THREADS)
    graph, params, rest = build({})
    # New networks start with norms of 0 before every sum, which would hide the blocks.
    params = jax.tree.map_with_path(
        lambda at, leaf: jnp.ones_like(leaf) if "['scale']" in jax.tree_util.keystr(at) else leaf,
        params,
    )
    model = nnx.merge(graph, params, rest)
    weights = {at: np.asarray(leaf[...]) for at, leaf in leaves(model).items()}
    peer = pytorch_models.UPerNet(CLASSES)
    arrays = torch_arrays(model, weights)
    named = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    left = peer.load_state_dict(named, strict=False)
    unfilled = [name for name in left.missing_keys if not name.endswith("num_batches_tracked")]
    assert not unfilled and not left.unexpected_keys, (unfilled, left.unexpected_keys)
    image = np.random.default_rng(0).normal(size=(1, 128, 160, 3)).astype(np.float32)
    ours = np.asarray(jax.jit(functools.partial(forward, graph))(params, rest, image))
    with torch.inference_mode():
        theirs = peer.eval()(torch.from_numpy(np.moveaxis(image, -1, 1).copy())).numpy()
    apart = abs(ours - np.moveaxis(theirs, 1, -1)).max()
    print(f"logits of up to {abs(ours).max():.0f} agree to {apart:.1e}", flush=True)
    # Both round in float32, in another order: 1e-4 on logits of size 20.
    assert apart < 1e-4 * max(1, abs(ours).max() / 20), "not the same network"
    return peer


def torch_calls(mode: str, x, label) -> dict[str, Callable[[], None]]:
    """PyTorch's forward pass or training step, in both of its memory formats."""
    peer, calls = torch_network(), {}
    image = torch.from_numpy(np.moveaxis(np.array(x), -1, 1).copy())
    target = torch.from_numpy(np.array(label)).long()
    for name in ("contiguous_format", "channels_last"):
        layout = {"memory_format": getattr(torch, name)}
        net, given = copy.deepcopy(peer).to(**layout), image.contiguous(**layout)
        make = torch_step if "training" in mode else torch_forward
        calls[f"PyTorch, {name.removesuffix('_format').replace('_', ' ')}"] = make(
            net, given, target
        )
    return calls


def torch_forward(net, x, _) -> Callable[[], None]:
    """A call of PyTorch's forward pass."""
    net.eval()

    def call():
        with torch.inference_mode():
            net(x)

    return call


def torch_step(net, x, label) -> Callable[[], None]:
    """A call of PyTorch's training step."""
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
    cross_entropy = torch.nn.functional.cross_entropy

    def call():
        optimizer.zero_grad(set_to_none=True)
        logits, auxiliary = net.with_auxiliary(x)
        (cross_entropy(logits, label) + 0.4 * cross_entropy(auxiliary, label)).backward()
        optimizer.step()

    return call


def measure(mode: str, make, arguments: tuple, repeats: int, peers: dict) -> list[dict]:
    """All variants and peers in turn; each row says what it costs beside our baseline."""
    calls, costs = {}, {}
    for name, options in VARIANTS.items():
        print(f"compiling {mode}, {name}", flush=True)
        calls[name], costs[name] = make(options, *arguments)
    calls |= peers
    for call in calls.values():
        call()
    times = in_turn(calls, repeats)
    rows = []
    for name, time in times.items():
        row = {"mode": mode, "network": name, "ms": round(time, 1)}
        if name in costs:
            row |= {
                "cost": f"{100 * (time / times['baseline'] - 1):+.1f} %",
                "Gflop": round(costs[name]["flops"] / 1e9, 1),
                "GB moved": round(costs[name]["bytes accessed"] / 1e9, 2),
            }
        else:
            row["peer / ours"] = round(time / times["baseline"], 2)
        rows.append(row)
    return rows


def main() -> None:
    """Measures both modes and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--baseline", action="store_true", help="no filter or mixer, write nothing")
    options = parser.parse_args()
    gpu = jax.devices()[0].platform == "gpu"
    if options.baseline:
        for name in list(VARIANTS)[1:]:
            del VARIANTS[name]
    shape = (1, 1024, 2048, 3) if gpu else (1, 512, 512, 3)
    image = jnp.asarray(
        np.random.default_rng(0).normal(size=shape), jnp.bfloat16 if gpu else jnp.float32
    )
    crops = jax.random.normal(jax.random.key(0), (2, 256, 256, 3))
    label = jax.random.randint(jax.random.key(1), (2, 256, 256), 0, CLASSES)
    rows = []
    for mode, make, arguments in (
        (f"forward {'x'.join(map(str, shape[:3]))} {image.dtype}", our_forward, (image,)),
        ("training step 2x256x256 float32", our_step, (crops, label)),
    ):
        peers = torch_calls(mode, arguments[0], label) if torch and not gpu else {}
        rows += measure(mode, make, arguments, options.repeats, peers)
    print(markdown(rows)) if options.baseline else save("network", rows)


if __name__ == "__main__":
    main()
