"""Which leaves and which PyTorch names belong to which part."""

import pytest

from segalias_jax.errors import InputError
from segalias_jax.torch_weights.parts import check_parts, in_parts


@pytest.mark.parametrize(
    "part, inside, outside",
    [
        (
            "head",
            ("classifier/conv/bias", "auxiliary/classifier/conv/bias", "decode_head.conv_seg.bias"),
            ("auxiliary/mix/conv/kernel", "decode_head.bottleneck.conv.weight"),
        ),
        (
            "head",
            ("decoder/classifier/kernel", "decode_head.0.conv_seg.bias"),
            ("decoder/region_mix/conv/kernel", "decode_head.1.bottleneck.conv.weight"),
        ),
        (
            "auxiliary",
            ("auxiliary/mix/conv/kernel", "auxiliary_head.conv_seg.bias"),
            ("decoder/a",),
        ),
        (
            "decoder",
            ("decoder/laterals/0/norm/bias", "neck.a", "decode_head.1.bottleneck.a"),
            ("decode_head.conv_seg.bias", "decode_head.1.conv_seg.bias", "decoder/classifier/bias"),
        ),
        ("mixer", ("encoder/stages/1/0/mixer/spatial_gate/bias", "layer2.0.att.a"), ("encoder/a",)),
        (
            "filter",
            ("encoder/filters/0/conv/kernel", "AdaD.1.filt", "backbone.filters.0.conv.weight"),
            ("encoder/stages/0/a",),
        ),
        (
            "output_norm",
            (
                "encoder/output_norms/3/scale",
                "output_norms/0/bias",
                "backbone.norm3.bias",
                "norm0.a",
            ),
            ("encoder/stages/0/0/norm1/scale", "stages.1.blocks.0.norm.weight", "stem.1.weight"),
        ),
    ],
)
def test_parts(part, inside, outside):
    assert all(in_parts(name, (part,)) for name in inside)
    assert not any(in_parts(name, (part,)) for name in outside)


def test_unknown_part():
    with pytest.raises(
        InputError, match="part is 'heads'; did you mean 'head'. choose one of head, auxiliary"
    ):
        check_parts(("head", "heads"))
