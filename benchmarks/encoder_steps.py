"""Is a training step on other encoders as fast as PyTorch's, and what bounds it?

    PYTHONPATH=. PEERS/bin/python benchmarks/encoder_steps.py [--repeats N] [--encoders NAME ...]

UPerNet with 128 decoder channels on Swin-T, MiT-B1 and EfficientNet-Lite0, 2x256x256, float32:
forward, loss, backward and AdamW. PyTorch has timm's encoders (transformers' for MiT, which timm
lacks) below the same decoder, `PEERS` both and JAX. Both have the same weights and, as is checked
first, compute the same logits; both run on two threads. PyTorch runs in both of its memory formats
and with its fused optimizer; the quicker format is the peer. Calls take turns: `ours / peer` is the
ratio of medians, followed by the quartiles of the ratios of single turns; of processor time, too,
which says the same on a machine that is busy with something else.

Operations and bytes are those of our compiled program; `least ms` is the time that they would take
at the rates that a large matrix product and a sum of two large arrays reach in the same run.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytorch_models
import timm
import torch
import transformers
from common import latencies, save, stored
from flax import nnx
from torch import Tensor

from segalias_jax import models
from segalias_jax.losses import segmentation_loss
from segalias_jax.ops import IMAGENET_MEAN, IMAGENET_STD
from segalias_jax.torch_weights.load import torch_arrays
from segalias_jax.torch_weights.names import leaves

SECTION = "encoder steps"
CLASSES = 19
SIDE = 256
RATE, DECAY = 1e-4, 0.05
THREADS = 2
MIT_B1 = {"hidden_sizes": [64, 128, 320, 512], "depths": [2, 2, 2, 2]}
NO_DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")


class TimmEncoder(torch.nn.Module):
    """An encoder of timm; a Swin's features pass norms, as they do in segmentation networks."""

    def __init__(self, name: str, *, normed: tuple[int, ...] = (), **options):
        super().__init__()
        self.net = timm.create_model(name, num_classes=0, **options)
        count = len(self.net.feature_info)
        self.indices = list(range(count - 4, count))
        for i, channels in enumerate(normed):
            self.add_module(f"norm{i}", torch.nn.LayerNorm(channels))
        self.normed = bool(normed)

    def fill(self, arrays: dict[str, Tensor]) -> None:
        """Loads arrays; those of norms of features stand beside the network's."""
        own = {f"norm{i}" for i in range(4)}
        named = {k if k.split(".")[0] in own else f"net.{k}": v for k, v in arrays.items()}
        fill(self, named)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns four feature maps, fine to coarse."""
        features = self.net.forward_intermediates(x, self.indices, intermediates_only=True)
        if not self.normed:
            return features
        norms = [getattr(self, f"norm{i}") for i in range(4)]
        return [
            norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for norm, y in zip(norms, features, strict=True)
        ]


class MiTEncoder(torch.nn.Module):
    """MiT-B1 of transformers."""

    def fill(self, arrays: dict[str, Tensor]) -> None:
        """Builds it from arrays, whose names in files are not those of its modules."""
        config = transformers.SegformerConfig(**MIT_B1 | dict.fromkeys(NO_DROPOUT, 0.0))
        self.net, left = transformers.SegformerModel.from_pretrained(
            None, config=config, state_dict=arrays, output_loading_info=True
        )
        assert not left["missing_keys"] and not left["unexpected_keys"], left

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns four feature maps, fine to coarse."""
        return list(self.net(x, output_hidden_states=True).hidden_states)


def swin() -> torch.nn.Module:
    """Swin-T for images of 224 pixels, at which no window is padded: there all agree."""
    return TimmEncoder("swin_tiny_patch4_window7_224", normed=(96, 192, 384, 768), drop_path_rate=0)


def lite0() -> torch.nn.Module:
    """EfficientNet-Lite0, which reads (u - 127) / 128 of an image u: ours sees to that itself."""
    encoder = TimmEncoder("tf_efficientnet_lite0")
    scale, shift = (torch.tensor(c).view(3, 1, 1) for c in (IMAGENET_STD, IMAGENET_MEAN))
    encoder.register_forward_pre_hook(lambda _, given: ((given[0] * scale + shift - 127) / 128,))
    return encoder


PEERS: dict[str, Callable[[], torch.nn.Module]] = {
    "swin_tiny": swin,
    "mit_b1": MiTEncoder,
    "efficientnet_lite0": lite0,
}


def build(encoder: str) -> tuple:
    """Structure, parameters and the rest of our network."""

    def create():
        options = {"name": "upernet", "encoder": encoder}
        return models.create_model(options, num_classes=CLASSES, rngs=nnx.Rngs(0))

    graph = nnx.split(nnx.eval_shape(create), nnx.Param, ...)[0]
    return graph, *jax.jit(lambda: nnx.split(create(), nnx.Param, ...)[1:])()


def peer_network(encoder: str, graph, params, rest) -> torch.nn.Module:
    """PyTorch's network with our weights, checked to compute what ours does."""
    model = nnx.merge(graph, params, rest, copy=True)
    channels = model.encoder.channels
    peer = pytorch_models.UPerNet(CLASSES, backbone=PEERS[encoder](), in_channels=channels)
    peer.backbone.fill(tensors(model.encoder, leaves(model.encoder)))
    heads = {at: leaf for at, leaf in leaves(model).items() if at[0] != "encoder"}
    named = tensors(model, heads)  # and what mmsegmentation stores of an encoder without weights
    fill(peer, {name: value for name, value in named.items() if "backbone" not in name})
    image = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)
    model.eval()
    ours = np.asarray(nnx.jit(lambda m, x: m(x))(model, jnp.asarray(image)))
    with torch.inference_mode():
        theirs = peer.eval()(torch.from_numpy(np.moveaxis(image, -1, 1).copy())).numpy()
    apart = abs(ours - np.moveaxis(theirs, 1, -1)).max() / abs(ours).max()
    print(f"{encoder}: logits agree to {apart:.1e} of the largest", flush=True)
    # Both round in float32, in another order.
    assert apart < 1e-4, "not the same network"
    if encoder == "swin_tiny":
        peer.backbone.net.set_input_size((SIDE, SIDE))
    return peer


def tensors(module: nnx.Module, variables: dict) -> dict[str, Tensor]:
    """Some variables of a module by their PyTorch names."""
    arrays = torch_arrays(module, {at: np.asarray(leaf[...]) for at, leaf in variables.items()})
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def fill(module: torch.nn.Module, named: dict[str, Tensor]) -> None:
    """Loads tensors, all of which must have a place."""
    left = module.load_state_dict(named, strict=False)
    assert not left.unexpected_keys, left.unexpected_keys


def our_step(graph, params, rest, x, label) -> tuple[Callable[[], None], dict]:
    """A call of our training step, which continues from its own result, and its program's cost."""
    optimizer = optax.adamw(RATE, weight_decay=DECAY)

    def step(params, rest, moments, x, label):
        def loss(params):
            model = nnx.merge(graph, params, rest, copy=True)
            model.train()
            value = segmentation_loss(*model.with_auxiliary(x), label)
            return value, nnx.split(model, nnx.Param, ...)[2]

        (value, rest), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, updates), rest, moments, value

    state = [params, rest, jax.jit(optimizer.init)(params)]
    program = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*state, x, label).compile()

    def call():
        *state[:], value = program(*state, x, label)
        jax.block_until_ready((state, value))

    return call, program.cost_analysis()


def peer_step(net: torch.nn.Module, x, label) -> Callable[[], None]:
    """A call of PyTorch's training step."""
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    cross_entropy = torch.nn.functional.cross_entropy

    def call():
        optimizer.zero_grad(set_to_none=True)
        logits, auxiliary = net.with_auxiliary(x)
        (cross_entropy(logits, label) + 0.4 * cross_entropy(auxiliary, label)).backward()
        optimizer.step()

    return call


def machine_rates() -> tuple[float, float]:
    """Operations per second of a matrix product, bytes per second of a sum; the best of five."""
    matrix, long = jnp.ones((1536, 1536)), jnp.ones(2**25)
    results = []
    for function, given, amount in (
        (lambda a: a @ a, matrix, 2 * matrix.size * matrix.shape[0]),
        (lambda a: a + 1, long, 2 * long.nbytes),
    ):
        program = jax.jit(function).lower(given).compile()
        times = latencies({"": lambda p=program, g=given: p(g).block_until_ready()}, 6)[""]
        results.append(amount / (min(times) / 1e3))
    return results[0], results[1]


def take_turns(calls: dict[str, Callable[[], None]], repeats: int) -> dict[str, np.ndarray]:
    """Milliseconds of every call: by the clock, and of all processors together."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start, busy = time.perf_counter(), time.process_time()
            call()
            times[name].append((time.perf_counter() - start, time.process_time() - busy))
    return {name: 1e3 * np.transpose(of_call) for name, of_call in times.items()}


def ratio(ours: np.ndarray, peer: np.ndarray) -> str:
    """Of medians, with the quartiles of the turns' own."""
    low, high = np.quantile(ours / peer, (0.25, 0.75))
    return f"{np.median(ours) / np.median(peer):.2f} ({low:.2f} to {high:.2f})"


def measure(encoder: str, repeats: int, rates: tuple[float, float]) -> list[dict]:
    """Rows of one encoder: ours, and the peer in both of its memory formats."""
    crops = jax.random.normal(jax.random.key(0), (2, SIDE, SIDE, 3))
    label = jax.random.randint(jax.random.key(1), (2, SIDE, SIDE), 0, CLASSES)
    graph, params, rest = build(encoder)
    peer = peer_network(encoder, graph, params, rest)
    ours, cost = our_step(graph, params, rest, crops, label)
    image = torch.from_numpy(np.moveaxis(np.array(crops), -1, 1).copy())
    target = torch.from_numpy(np.array(label)).long()
    calls = {"ours": ours}
    for name in ("contiguous_format", "channels_last"):
        layout = {"memory_format": getattr(torch, name)}
        last = name == "channels_last"  # no third copy: a Swin's with its moments is large
        net = (peer if last else copy.deepcopy(peer)).to(**layout)
        calls[f"PyTorch, {name.removesuffix('_format').replace('_', ' ')}"] = peer_step(
            net, image.contiguous(**layout), target
        )
    for call in calls.values():
        call()
    times = take_turns(calls, repeats)
    clock = {name: float(np.median(of_call[0])) for name, of_call in times.items()}
    quickest = min((name for name in calls if name != "ours"), key=clock.__getitem__)
    least = {
        "operations": 1e3 * cost["flops"] / rates[0],
        "bytes": 1e3 * cost["bytes accessed"] / rates[1],
    }
    rows = [{"encoder": encoder, "step": name, "ms": round(ms, 1)} for name, ms in clock.items()]
    rows[0] |= {
        "ours / peer": ratio(times["ours"][0], times[quickest][0]),
        "of processor time": ratio(times["ours"][1], times[quickest][1]),
        "Gflop": round(cost["flops"] / 1e9, 1),
        "GB moved": round(cost["bytes accessed"] / 1e9, 2),
        "least ms by operations": round(least["operations"]),
        "least ms by bytes": round(least["bytes"]),
        "bound by": max(least, key=least.__getitem__),
    }
    return rows


def main() -> None:
    """Measures all encoders and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--encoders", nargs="+", choices=list(PEERS), default=list(PEERS))
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    rates = machine_rates()
    print(f"{rates[0] / 1e9:.0f} Gflop/s, {rates[1] / 1e9:.1f} GB/s", flush=True)
    for encoder in options.encoders:
        rows = measure(encoder, options.repeats, rates)
        # Each takes minutes: what was measured stays, also if the next one is interrupted.
        save(SECTION, [row for row in stored(SECTION) if row["encoder"] != encoder] + rows)


if __name__ == "__main__":
    main()
