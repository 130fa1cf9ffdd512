"""PyTorch weights in our models: nothing lost, nothing unnoticed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.checkpoints import load_torch
from segalias_jax.errors import InputError
from segalias_jax.torch_weights.load import fit_torch, torch_arrays
from segalias_jax.torch_weights.names import leaves

torch = pytest.importorskip("torch")
PUBLISHED = {"mixer": "freqmix", "gate": "corner", "band": "reference", "cutoff": 0.35}
BACKBONE = ("decoder", "head", "auxiliary")


def fit(arrays, model, *, allow_missing=()):
    return fit_torch(arrays, model, "/dev/null", allow_missing)


@pytest.mark.parametrize(
    "config",
    [
        {},
        PUBLISHED | {"downsample": "daf"},
        PUBLISHED | {"downsample": "adaptive_blur"},
        {"downsample": "blur5", "auxiliary": False},
        {"mixer": "freqmix"},
    ],
)
def test_there_and_back_without_loss(abstract_model, state_dict, config):
    arrays, model = state_dict(**config), abstract_model(**config)
    filled, source = fit(arrays, model)
    assert filled.keys() == leaves(model).keys()
    assert source.table == ("published" if "gate" in config else "mmsegmentation")
    back = torch_arrays(model, filled)
    assert back.keys() | {"backbone.bn1.num_batches_tracked"} == arrays.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def backbone_of(arrays):
    prefix = "backbone."
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def test_a_convolution_computes_what_torch_does(state_dict, tmp_path):
    arrays = {k: np.abs(v) if "var" in k else v for k, v in backbone_of(state_dict()).items()}
    path = tmp_path / "w.pth"
    torch.save({k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}, path)
    encoder = nnx.jit(lambda: models.ResNet("resnet18", width=8, rngs=nnx.Rngs(0)))()
    source = load_torch(path, encoder)
    assert source.file == "w.pth" and len(source.sha256) == 64
    encoder.eval()
    x = np.random.default_rng(1).normal(size=(2, 9, 11, 3)).astype(np.float32)
    ours = encoder.stem[0](jnp.asarray(x))
    t = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays}
    y = torch.from_numpy(x).permute(0, 3, 1, 2)
    y = torch.nn.functional.conv2d(y, t["stem.0.weight"], None, 2, 1)
    norm = (t[f"stem.1.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
    theirs = torch.relu(torch.nn.functional.batch_norm(y, *norm)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_everything_that_does_not_fit_is_in_one_message(abstract_model, state_dict):
    arrays = state_dict()
    arrays["backbone.layer9.weight"] = np.zeros(3, np.float32)
    arrays["backbone.extra.weight"] = np.zeros(3, np.float32)
    del arrays["backbone.stem.0.weight"], arrays["decode_head.bottleneck.bn.running_var"]
    arrays["decode_head.conv_seg.bias"] = np.zeros(7, np.float32)
    arrays["backbone.stem.1.bias"] = np.zeros(4, np.int64)
    with pytest.raises(InputError) as caught:
        fit(arrays, abstract_model())
    message = str(caught.value)
    for part in (
        "names that the model does not have: backbone.extra.weight, backbone.layer9.weight",
        "decoder/pyramid/bottleneck/norm/var (from decode_head.bottleneck.bn.running_var)",
        "encoder/stem/0/conv/kernel (from backbone.stem.0.weight)",
        "decode_head.conv_seg.bias is (7,) in the file and (5,) here",
        "backbone.stem.1.bias holds int64 numbers, not floats",
    ):
        assert part in message
    assert "\n" not in message


def test_nothing_changes_where_something_does_not_fit(state_dict, tmp_path):
    encoder = nnx.jit(lambda: models.ResNet("resnet18", width=8, rngs=nnx.Rngs(0)))()
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(encoder)))
    path = tmp_path / "w.pth"
    torch.save({"stem.0.weight": torch.ones(4, 3, 3, 3)}, path)
    with pytest.raises(InputError, match="leaves that nothing fills"):
        load_torch(path, encoder)
    after = nnx.to_pure_dict(nnx.state(encoder))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_other_number_of_classes(abstract_model, state_dict):
    arrays, model = state_dict(19), abstract_model(5)
    with pytest.raises(InputError, match=r"decode_head.conv_seg.bias is \(19,\) .* \(5,\) here"):
        fit(arrays, model)
    filled, source = fit(arrays, model, allow_missing=("head",))
    assert source.missing == ("head",)
    absent = leaves(model).keys() - filled.keys()
    heads = (("classifier",), ("auxiliary", "classifier"))
    assert absent == {(*head, "conv", leaf) for head in heads for leaf in ("kernel", "bias")}


def test_backbone_alone(abstract_model, state_dict):
    arrays = backbone_of(state_dict())
    arrays |= {"fc.weight": np.zeros((10, 64), np.float32), "fc.bias": np.zeros(10, np.float32)}
    filled, source = fit(arrays, abstract_model())
    assert (source.table, source.missing) == ("open-mmlab", BACKBONE)
    assert {path[0] for path in filled} == {"encoder"}
    with pytest.raises(InputError, match="nothing fills: encoder/stages/1/0/mixer/high_gate"):
        fit(arrays, abstract_model(mixer="freqmix"))
    mixed, _ = fit(arrays, abstract_model(mixer="freqmix"), allow_missing=("mixer",))
    assert mixed.keys() == filled.keys()


def test_backbone_into_a_bare_encoder(state_dict):
    encoder = nnx.eval_shape(lambda: models.ResNet("resnet18", width=8, rngs=nnx.Rngs(0)))
    arrays = backbone_of(state_dict())
    assert fit(arrays, encoder)[0].keys() == leaves(encoder).keys()


def test_published_gates_ask_for_theirs(abstract_model, state_dict):
    arrays = state_dict(**PUBLISHED)
    with pytest.raises(InputError, match="published gates need gate='corner'"):
        fit(arrays, abstract_model(mixer="freqmix"))


def test_other_fixed_filter(abstract_model, state_dict):
    arrays = state_dict(downsample="blur5")
    arrays["backbone.AdaD.2.filt"] = arrays["backbone.AdaD.2.filt"] * 2
    with pytest.raises(InputError, match=r"AdaD.2.filt is another filter") as caught:
        fit(arrays, abstract_model(downsample="blur5"))
    assert "AdaD.1" not in str(caught.value)
    with pytest.raises(InputError, match="does not have: backbone.AdaD.1.filt"):
        fit(arrays, abstract_model())


@pytest.mark.parametrize(
    "ending, value, told",
    [
        (".weight", np.nan, "holds nan, infinite or too large numbers"),
        (".weight", -np.inf, "holds nan, infinite or too large numbers"),
        (".weight", 1e300, "holds nan, infinite or too large numbers"),
        (".running_var", -1e-3, "holds negative variances"),
    ],
)
def test_numbers_that_no_network_has_are_refused(abstract_model, state_dict, ending, value, told):
    name = next(name for name in state_dict if name.endswith(ending))
    changed = np.array(state_dict[name], np.float64)
    changed.flat[-1] = value
    with pytest.raises(InputError, match=f"{re.escape(name)} {told}"):
        fit({**state_dict, name: changed}, abstract_model)
