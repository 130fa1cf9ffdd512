"""Records logits of a narrow SegFormer of transformers; run where that is installed, without JAX.

    python tests/golden/record_segformer.py

Weights follow from their names (`drawn.draw`), those of transformers' files. With them are logits
of the decoder of mmsegmentation, made of PyTorch's layers, on the same encoder; both at a quarter
of the image's size.
"""

import tempfile
from pathlib import Path

import numpy as np
from drawn import draw, fill, run

FILE = Path(__file__).with_name("j_segformer_narrow.npz")
WIDTH, DEPTHS, SIZE = 8, (1, 1, 1, 1), (65, 95)
CHANNELS, CLASSES = 6, 5
KEEP = np.s_[:, ::2, ::2]


def transformers_network():
    """A SegFormer with drawn weights."""
    from safetensors.numpy import load_file, save_file
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    heads = [1, 2, 5, 8]
    config = SegformerConfig(
        hidden_sizes=[WIDTH * h for h in heads],
        depths=list(DEPTHS),
        num_attention_heads=heads,
        sr_ratios=[8, 4, 2, 1],
        decoder_hidden_size=CHANNELS,
        num_labels=CLASSES,
    )
    with tempfile.TemporaryDirectory() as folder:
        # Files have other names than the modules of this version.
        SegformerForSemanticSegmentation(config).save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        named = {name: draw(name, array.shape) for name, array in load_file(file).items()}
        save_file(named, file, metadata={"format": "pt"})
        return SegformerForSemanticSegmentation.from_pretrained(folder).eval()


def mmsegmentation_decoder():
    """Its linear layers have norm and ReLU, and it joins the finest features first."""
    import torch
    from torch import nn
    from torch.nn.functional import interpolate

    def layer(before):
        conv = nn.Conv2d(before, CHANNELS, 1, bias=False)
        parts = {"conv": conv, "bn": nn.BatchNorm2d(CHANNELS), "activate": nn.ReLU()}
        sequence = nn.Sequential()
        for name, part in parts.items():
            sequence.add_module(name, part)
        return sequence

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList([layer(WIDTH * h) for h in (1, 2, 5, 8)])
            self.fusion_conv = layer(4 * CHANNELS)
            self.conv_seg = nn.Conv2d(CHANNELS, CLASSES, 1)

        def forward(self, maps):
            size = maps[0].shape[2:]
            parts = [
                interpolate(conv(f), size=size, mode="bilinear")
                for conv, f in zip(self.convs, maps, strict=True)
            ]
            return self.conv_seg(self.fusion_conv(torch.cat(parts, 1)))

    return fill(nn.ModuleDict({"decode_head": Head()}))["decode_head"]


def main():
    """Writes the file."""
    network, decoder = transformers_network(), mmsegmentation_decoder()

    def both(x):
        maps = network.segformer(x, output_hidden_states=True).hidden_states
        return network(x).logits, decoder(maps)

    logits = run(both, *SIZE)
    kinds = ("transformers", "mmsegmentation")
    np.savez_compressed(FILE, **{k: y[KEEP] for k, y in zip(kinds, logits, strict=True)})


if __name__ == "__main__":
    main()
