"""How fast are the operators, against plain PyTorch FFT versions measured in the same run?

    python benchmarks/ops.py [--repeats N] [--only WORD]

Every case is run forward and forward+backward, ours and the peer's in turn, in float32 (bfloat16
for "bf16" cases, which the peer, whose FFT has no bfloat16, runs in float32). Medians go to
`results/<device>.json` and, as a table, to the console. Without torch only ours is measured. The
peer of the median filter is scipy.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from common import markdown, medians, save, torch
from flax import nnx

from segalias_jax import layers, ops

try:
    from scipy import ndimage
except ImportError:
    ndimage = None


@dataclasses.dataclass(frozen=True)
class Case:
    """One question: our function, the peer's, and the shape [b, h, w, c] of the input."""

    name: str
    shape: tuple[int, int, int, int]
    ours: Callable
    peer: Callable | None
    dtype: str = "float32"
    operations: float = 0.0  # multiply-adds times two of our forward pass, counted


def low_pass_operations(shape: tuple[int, int, int, int]) -> float:
    """Of the product form: per pixel and channel one sum over each axis."""
    b, h, w, c = shape
    return 2.0 * b * h * w * c * (h + w)


def shifted_spectrum(x, cutoff):
    """Spectrum with zero frequency in the middle, and the published mask for it, NCHW."""
    h, w = x.shape[-2:]
    mask = torch.zeros(h, w, device=x.device)
    rows = slice(round(h / 2 - h * cutoff), round(h / 2 + h * cutoff))
    mask[rows, round(w / 2 - w * cutoff) : round(w / 2 + w * cutoff)] = 1
    return torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1)), mask


def peer_low_pass(x, cutoff=0.35):
    """The textbook form in PyTorch: shifted spectrum, mask, back, real part."""
    spectrum, mask = shifted_spectrum(x, cutoff)
    return torch.fft.ifft2(torch.fft.ifftshift(spectrum * mask, dim=(-2, -1))).real


def make_peer_freqmix(channels: int, device: str):
    """The published FreqMix in PyTorch: bands and channel gates by way of one spectrum."""
    generator = torch.Generator().manual_seed(0)

    def weight(*shape):
        values = 0.1 * torch.randn(*shape, generator=generator)
        return values.to(device).requires_grad_()

    hidden = channels // 16
    spatial = weight(2, channels, 3, 3)
    gates = [(weight(hidden, channels, 1, 1), weight(channels, hidden, 1, 1)) for _ in range(2)]

    def gate(spectrum, pair):
        parts = []
        for part in (spectrum.real, spectrum.imag):
            statistic = part.mean((-2, -1), keepdim=True)
            hidden = torch.relu(torch.nn.functional.conv2d(statistic, pair[0]))
            parts.append(torch.sigmoid(torch.nn.functional.conv2d(hidden, pair[1])))
        return (parts[0] ** 2 + parts[1] ** 2 + 1e-8).sqrt()

    def freqmix(x):
        weights = torch.sigmoid(torch.nn.functional.conv2d(x, spatial, padding=1))
        spectrum, mask = shifted_spectrum(x, 0.35)
        kept = spectrum * mask
        low = torch.fft.ifft2(torch.fft.ifftshift(kept, dim=(-2, -1))).real
        y = low * weights[:, :1] * gate(kept, gates[0])
        return y + (x - low) * weights[:, 1:] * gate(spectrum - kept, gates[1])

    return freqmix


def our_freqmix(channels: int, **options):
    graph, state = nnx.split(layers.FreqMix(channels, rngs=nnx.Rngs(0), **options))
    return lambda x, state=state: nnx.merge(graph, state)(x)


def cases(peer_device: str) -> list[Case]:
    """Every question, by size."""
    found = []
    peer = peer_low_pass if torch else None
    forms = {
        "low pass": ({}, "float32"),
        "low pass, bf16": ({}, "bfloat16"),
        "low pass, published band": ({"band": "reference"}, "float32"),
    }
    for shape in [(8, 96, 96, 128), (8, 192, 192, 256), (2, 128, 256, 256)]:
        for name, (options, dtype) in forms.items():
            ours = functools.partial(ops.low_pass, cutoff=0.35, method="matmul", **options)
            found.append(Case(name, shape, ours, peer, dtype, low_pass_operations(shape)))
    # The two methods side by side: `choose_method` follows these rows.
    for n in (32, 64, 128, 256, 512, 1024):
        shape = (1, n, n, max(16, 2**21 // n**2))
        for method in ("matmul", "fft"):
            ours = functools.partial(ops.low_pass, cutoff=0.35, method=method)
            found.append(Case(f"method {method}", shape, ours, None))
    for shape in [(8, 96, 96, 128), (8, 48, 48, 256)]:
        peer = make_peer_freqmix(shape[-1], peer_device) if torch else None
        found.append(Case("FreqMix", shape, our_freqmix(shape[-1]), peer))
        published = our_freqmix(shape[-1], gate="corner", band="reference")
        found.append(Case("FreqMix, published gate and band", shape, published, peer))
    shape = (8, 96, 96, 128)
    found.append(Case("blur 3x3", shape, lambda x: ops.binomial_blur(x, 3), None))
    found.append(Case("aliasing score", shape, lambda x: ops.aliasing_score(x, 0.35), None))
    return found


def our_calls(case: Case) -> dict[str, Callable[[], None]]:
    """Compiled and warmed-up calls; inputs are arguments, so that nothing is folded."""
    x = jax.random.normal(jax.random.key(0), case.shape, case.dtype)
    weight = jax.eval_shape(case.ours, x)
    cotangent = jnp.ones(weight.shape, weight.dtype)
    forward = jax.jit(case.ours)

    @jax.jit
    def both(x, cotangent):
        y, pullback = jax.vjp(case.ours, x)
        return y, pullback(cotangent)

    calls = {
        "forward": lambda: jax.block_until_ready(forward(x)),
        "forward+backward": lambda: jax.block_until_ready(both(x, cotangent)),
    }
    for call in calls.values():
        call()
    return calls


def peer_calls(case: Case, device: str) -> dict[str, Callable[[], None]]:
    """The same for PyTorch, in its own layout."""
    if case.peer is None:
        return {}
    b, h, w, c = case.shape
    x = torch.randn(b, c, h, w, device=device)
    needs_gradient = x.clone().requires_grad_()
    cotangent = torch.ones_like(x)

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def forward():
        with torch.no_grad():
            case.peer(x)
        wait()

    def both():
        needs_gradient.grad = None
        case.peer(needs_gradient).backward(cotangent)
        wait()

    forward(), both()
    return {"forward": forward, "forward+backward": both}


def measure_median(repeats: int) -> list[dict]:
    """A median over 3x3 pixels of one picture; the peer is scipy, where it is installed."""
    rows = []
    for dtype in ("uint8", "float32"):
        shape = (1024, 1024, 3)
        picture = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
        ours, x = jax.jit(lambda x: ops.median_filter(x, 3)), jnp.asarray(picture)
        calls = {"ours": lambda ours=ours, x=x: jax.block_until_ready(ours(x))}
        if ndimage:
            calls["peer"] = lambda x=picture: ndimage.median_filter(x, (3, 3, 1), mode="reflect")
            np.testing.assert_array_equal(ours(x), calls["peer"]())
        calls["ours"]()
        times = medians(calls, repeats)
        row = {"case": f"median 3x3, {dtype}", "shape": "1024x1024x3", "mode": "forward"}
        row |= {f"{who} ms": round(t, 2) for who, t in times.items()}
        if ndimage:
            row["peer / ours"] = round(times["peer"] / times["ours"], 2)
        rows.append(row)
    return rows


def measure(case: Case, repeats: int, device: str) -> list[dict]:
    """Medians in milliseconds, forward and forward+backward."""
    ours, peers = our_calls(case), peer_calls(case, device)
    rows = []
    for mode in ours:
        times = medians({"ours": ours[mode]} | ({"peer": peers[mode]} if peers else {}), repeats)
        row = {"case": case.name, "shape": "x".join(map(str, case.shape)), "mode": mode}
        row |= {f"{who} ms": round(t, 2) for who, t in times.items()}
        if peers:
            row["peer / ours"] = round(times["peer"] / times["ours"], 2)
        if case.operations:
            count = case.operations * (1 if mode == "forward" else 2)
            row["Gflop/s"] = round(count / times["ours"] / 1e6)
        rows.append(row)
    return rows


def main() -> None:
    """Measures all cases and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", help="measure cases whose name has this word")
    options = parser.parse_args()
    device = "cuda" if torch and jax.devices()[0].platform == "gpu" else "cpu"
    rows = []
    for case in cases(device):
        if options.only in case.name:
            print(f"measuring {case.name} {case.shape}", flush=True)
            rows += measure(case, options.repeats, device)
    if options.only in "median 3x3":
        rows += measure_median(options.repeats)
    if options.only:
        print(markdown(rows))
    else:
        save("ops", rows)


if __name__ == "__main__":
    main()
