"""Networks: the field's counts and arithmetic, every image size, timm's own, and the errors."""

from __future__ import annotations

import json
from typing import Literal

import higher
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models import register_model
from timm.models.vgg import VGG
from torch import nn
from torch.nn import functional as F

from satm.errors import ConfigError, UnknownName
from satm.networks import convnet_name, create, known, plan
from satm.rng import Seed

SIZES = (8, 28, 32, 64, 128)


def make(name: str, size: int = 32, *, num_classes: int = 10, channels: int = 3) -> nn.Module:
    return create(name, num_classes=num_classes, image_shape=(channels, size, size), seed=Seed(0)).double()


def sketch(name: str, size: int = 32, *, num_classes: int = 10, channels: int = 3) -> nn.Module:
    """The network on the meta device: a count needs only its shapes."""
    with torch.device("meta"):
        return create(name, num_classes=num_classes, image_shape=(channels, size, size), seed=Seed(0))


def moved_off_its_start(network: nn.Module) -> nn.Module:
    """The network with scales that are not all 1 and shifts that are not all 0. So a mix-up of the two is found."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * noise(*parameter.shape)
    return network


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Seed(1).generator())


# docs/field.md, and for convnet4 and convnet5 at 32×32 the sums written out.
COUNTS = {
    ("convnet3", 32, 3): (320_010, 504_420),
    ("convnet4", 32, 3): (452_490, 498_660),  # 3,584 + 3·147,584 + 4·256 norms, then 512·K + K
    ("convnet5", 32, 3): (596_490, 608_100),  # 3,584 + 4·147,584 + 5·256, then 128·K + K
    ("alexnet", 32, 3): (1_872_202, 2_148_772),
    ("vgg11", 32, 3): (9_231_114, 9_277_284),
    ("resnet18", 32, 3): (11_173_962, 11_220_132),
    ("convnet3", 28, 1): (317_706, 502_116),  # 28 is padded to 32; one channel saves 2·9·128
}


@pytest.mark.parametrize(("name", "size", "channels"), COUNTS)
def test_parameter_counts_are_the_fields(name: str, size: int, channels: int) -> None:
    for num_classes, expected in zip((10, 100), COUNTS[name, size, channels], strict=True):
        network = sketch(name, size, num_classes=num_classes, channels=channels)
        assert count(network) == expected
        assert not list(network.buffers())


def test_parameter_counts_of_larger_images() -> None:
    assert count(sketch("convnet4", 64, num_classes=200)) == 857_160
    assert count(sketch("convnet5", 128)) == 615_690
    for name in ("alexnet", "vgg11", "resnet18"):
        assert count(sketch(name, 128)) == count(sketch(name, 32)) == COUNTS[name, 32, 3][0]


@pytest.mark.parametrize(
    ("name", "parameters", "buffers"),  # docs/field.md; the ConvNet has 3 layers of mean, variance and a counter
    [("convnetbn3", 320_010, 3 * 257), ("vgg11bn", 9_231_114, 5_512), ("resnet18bn", 11_173_962, 9_620)],
)
def test_batch_norm_changes_no_count_of_parameters(name: str, parameters: int, buffers: int) -> None:
    network = sketch(name)
    assert count(network) == parameters
    assert sum(buffer.numel() for buffer in network.buffers()) == buffers
    assert not any(isinstance(module, nn.GroupNorm) for module in network.modules())


def test_a_batch_normed_network_is_its_twin_except_for_the_norm() -> None:
    """The same seed gives the same weights. For a batch of one image the function is the same too."""
    plain, batch = make("convnet3_w6"), make("convnetbn3_w6")
    for ours, theirs in zip(plain.parameters(), batch.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    one = noise(1, 3, 32, 32)
    torch.testing.assert_close(batch(one), plain(one))
    assert not torch.allclose(batch(noise(4, 3, 32, 32)), plain(noise(4, 3, 32, 32)))


def test_convnet_is_its_definition() -> None:
    """The forward pass is written out with the parameters in their order, that of the field's expert files."""
    network, x = moved_off_its_start(make("convnet3_w6", 28, channels=1)), noise(4, 1, 28, 28)
    y, values = x, list(network.parameters())
    for layer in range(3):
        weight, bias, scale, shift = values[4 * layer : 4 * layer + 4]
        y = F.conv2d(y, weight, bias, padding=3 if layer == 0 else 1)
        y = F.avg_pool2d(F.instance_norm(y, weight=scale, bias=shift).relu(), 2)
    torch.testing.assert_close(network(x), F.linear(y.flatten(1), values[-2], values[-1]))


def test_alexnet_is_its_definition() -> None:
    network, x = moved_off_its_start(make("alexnet")), noise(2, 3, 32, 32)
    y, values = x, list(network.parameters())
    for layer, pooled in enumerate((True, True, False, False, True)):
        weight, bias = values[2 * layer : 2 * layer + 2]
        y = F.conv2d(y, weight, bias, padding="same").relu()
        y = F.max_pool2d(y, 2) if pooled else y
    torch.testing.assert_close(network(x), F.linear(y.flatten(1), values[-2], values[-1]))


def test_vgg11_agrees_with_timms_made_identical() -> None:
    ours = moved_off_its_start(make("vgg11"))
    stages = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]
    theirs = VGG(stages, mlp_ratio=0.001, norm_layer=lambda c, **_: nn.GroupNorm(c, c)).double()  # its head is not used
    copy_in_order(ours.features, theirs.features)
    x = noise(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), ours.classifier(theirs.features(x).flatten(1)))


def test_resnet18_agrees_with_timms_made_identical() -> None:
    """timm's ResNet18 with a 3×3 stem, without max pooling, and with GroupNorm (docs/field.md)."""
    ours = moved_off_its_start(make("resnet18"))
    theirs = timm.create_model(
        "resnet18", num_classes=10, norm_layer=lambda c, **_: nn.GroupNorm(c, c), zero_init_last=False
    )
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    theirs.double()
    copy_in_order(ours, theirs)
    x = noise(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x))


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    with torch.no_grad():
        for value, place in zip(source.parameters(), target.parameters(), strict=True):
            assert value.shape == place.shape
            place.copy_(value)


def check_double_backward(network: nn.Module, x: torch.Tensor) -> None:
    """Directional derivative of ‖∂L/∂θ‖² along the images: double backward against central differences."""
    target = torch.arange(len(x)) % 10

    def squared_gradient(images: torch.Tensor, *, create_graph: bool) -> torch.Tensor:
        loss = F.cross_entropy(network(images), target)
        return sum(g.square().sum() for g in torch.autograd.grad(loss, network.parameters(), create_graph=create_graph))

    x.requires_grad_()
    (slope,) = torch.autograd.grad(squared_gradient(x, create_graph=True), x)
    direction, step = noise(2, *x.shape)[1], 1e-8  # a longer step crosses a ReLU's kink, where the gradient jumps
    up, down = (squared_gradient(x + s * direction, create_graph=False) for s in (step, -step))
    expected = (up - down) / (2 * step)
    assert expected.abs() > 0
    torch.testing.assert_close((slope * direction).sum(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("depth", "size"), [(d, size) for d in (3, 4, 5) for size in (*SIZES, 27) if size >> d or (d, size) == (5, 28)]
)
def test_convnets_differentiate_twice_at_every_size(depth: int, size: int, channels: int) -> None:
    network = make(convnet_name(depth, 4), size, channels=channels)
    check_double_backward(network, noise(2, channels, size, size))


@pytest.mark.parametrize("name", ["alexnet", "vgg11"])
def test_resized_networks_differentiate_twice(name: str) -> None:
    check_double_backward(make(name, 8, channels=1), noise(1, 1, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("size", [*SIZES, 40])
@pytest.mark.parametrize("name", ["alexnet", "vgg11", "resnet18"])
def test_field_networks_differentiate_twice_at_every_size(name: str, size: int) -> None:
    check_double_backward(make(name, size), noise(1, 3, size, size))


def test_images_need_not_be_square() -> None:
    for name in ("convnet3_w4", "alexnet"):
        network = create(name, num_classes=7, image_shape=(3, 27, 50), seed=Seed(0))
        assert network(torch.zeros(2, 3, 27, 50)).shape == (2, 7)


@pytest.mark.parametrize("name", ["convnet3_w4", "alexnet"])
def test_higher_runs_a_network_on_other_parameters(name: str) -> None:
    """8×8, so that AlexNet has a resize before it."""
    network, x = make(name, 8), noise(2, 3, 8, 8)
    scaled = [parameter * 0.5 for parameter in network.parameters()]
    functional = higher.monkeypatch(network, copy_initial_weights=False)
    with torch.no_grad():
        other = make(name, 8)
        for parameter in other.parameters():
            parameter *= 0.5
    torch.testing.assert_close(functional(x, params=scaled), other(x))


def test_adaptations_are_recorded() -> None:
    def adaptation(name: str, size: int) -> dict[str, object]:
        return dict(plan(name, num_classes=10, image_shape=(3, size, size)).adaptation)

    assert [adaptation("convnet3", size) for size in SIZES] == [{}] * 5
    pools = [adaptation("alexnet", size) for size in SIZES]
    assert pools == [{"resize": 32}, {"resize": 32}, {}, {"adaptive_pool": 4}, {"adaptive_pool": 4}]
    assert adaptation("vgg11", 64) == adaptation("resnet18", 64) == {"adaptive_pool": 1}
    assert plan("vgg11", num_classes=10, image_shape=(1, 20, 36)).adaptation == {"resize": [32, 36], "adaptive_pool": 1}


def test_a_resized_network_sees_the_resized_images() -> None:
    small, x = make("vgg11", 8), noise(2, 3, 8, 8)
    resized = F.interpolate(x, size=(32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(small(x), make("vgg11", 32)(resized))


@pytest.mark.parametrize(
    ("name", "shape", "adaptation"),
    [
        ("timm/resnet18", (3, 32, 32), {}),
        ("timm/resnet18", (3, 8, 8), {"resize": 32}),
        ("mobilenetv3_small_050", (3, 32, 32), {}),
        ("mobilenetv3_small_050", (1, 8, 8), {"resize": 32}),
        ("vit_tiny_patch16_224", (3, 32, 32), {"img_size": 32}),
        ("vit_tiny_patch16_224", (1, 8, 8), {"resize": 32, "img_size": 32}),
        (
            "vit_tiny_patch16_224",
            (3, 36, 36),
            {"resize": 64, "img_size": 64},
        ),  # 36 is not a multiple of the 16 of its patches
        pytest.param("vit_tiny_patch16_224", (3, 224, 224), {}, marks=pytest.mark.slow),
        pytest.param("inception_v3", (3, 32, 32), {"resize": 96}, marks=pytest.mark.slow),  # it needs 75 pixels
        pytest.param("crossvit_tiny_240", (3, 32, 32), {"resize": 240}, marks=pytest.mark.slow),
    ],
)
def test_timms_own_networks(name: str, shape: tuple[int, int, int], adaptation: dict[str, int]) -> None:
    made = plan(name, num_classes=10, image_shape=shape)
    assert made.name == f"timm/{name.removeprefix('timm/')}"
    assert made.adaptation == adaptation
    assert json.loads(json.dumps([made.options, made.adaptation])) == [made.options, made.adaptation]
    network = create(name, num_classes=10, image_shape=shape, seed=Seed(0))
    images = torch.randn(2, *shape, generator=Seed(1).generator()).requires_grad_()
    logits = network(images)
    assert logits.shape == (2, 10)
    (slope,) = torch.autograd.grad(logits.logsumexp(1).sum(), images)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0


def test_a_prefix_distinguishes_timms_resnet18_from_the_fields() -> None:
    assert plan("resnet18", num_classes=10, image_shape=(3, 32, 32)).timm_name == "dd_resnet18"
    assert plan("timm/resnet18", num_classes=10, image_shape=(3, 32, 32)).timm_name == "resnet18"
    assert count(sketch("timm/resnet18")) == 11_181_642


def test_ours_are_registered_with_timm() -> None:
    import satm.networks.entrypoints  # noqa: F401

    for name in known():
        made = plan(name, num_classes=10, image_shape=(3, 32, 32))
        assert (made.name, made.timm_name) == (name, f"dd_{name}")
        assert plan(made.timm_name, num_classes=10, image_shape=(3, 32, 32)) == made
        assert timm.is_model(made.timm_name)
    assert count(timm.create_model("dd_convnet3")) == 320_010
    assert count(timm.create_model("dd_convnet3", num_classes=100, img_size=32, width=128)) == 504_420
    with pytest.raises(ConfigError, match="dd_vgg11 has no pretrained weights"):
        timm.create_model("dd_vgg11", pretrained=True)


@given(depth=st.sampled_from([3, 4, 5]), width=st.integers(1, 2000), norm=st.sampled_from(["", "bn"]))
def test_convnet_names_round_trip(depth: int, width: int, norm: Literal["", "bn"]) -> None:
    made = plan(convnet_name(depth, width, norm), num_classes=10, image_shape=(3, 32, 32))
    assert made.name == convnet_name(depth, width, norm)
    assert (made.timm_name, made.options["width"]) == (f"dd_convnet{norm}{depth}", width)


def test_the_fields_width_is_not_spelt_out() -> None:
    assert convnet_name(3, 128) == "convnet3"
    assert plan("convnet3_w128", num_classes=10, image_shape=(3, 32, 32)).name == "convnet3"


@pytest.mark.parametrize("name", ["convnet3_w8", "timm/vit_tiny_patch16_224"])
def test_weights_depend_only_on_the_seed(name: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        network = create(name, num_classes=10, image_shape=(3, 32, 32), seed=Seed(seed))
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    first, state = weights(0), torch.get_rng_state()
    torch.rand(3)
    moved = torch.get_rng_state()
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))
    assert torch.equal(torch.get_rng_state(), moved)
    assert not torch.equal(state, moved)


@pytest.mark.parametrize("name", ["convnet3", "alexnet", "vgg11", "resnet18"])
def test_initialisation_is_pytorchs_default(name: str) -> None:
    network = create(name, num_classes=10, image_shape=(3, 32, 32), seed=Seed(0))
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with Seed(0).forked():
        expected = nn.Conv2d(3, first.out_channels, first.kernel_size, bias=first.bias is not None)
    assert torch.equal(first.weight, expected.weight)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5  # U(±1/√fan_in), kaiming_uniform with a = √5
            assert 0.99 * bound < module.weight.abs().max() <= bound
        if isinstance(module, nn.GroupNorm):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


@pytest.mark.parametrize(
    ("name", "offers"),
    [
        ("convnet6", "convnet3"),
        ("convnet3_w0", "convnet3"),
        ("ResNet18", "resnet18"),
        ("mobilenetv3_smal_050", "did you mean timm/mobilenetv3_small_050"),
        ("timm/resnet19", "timm/resnet18"),
        ("zzz", "known: alexnet, convnet3"),
        ("hf-hub:timm/resnet18", "resnet18"),
        ("timm/convnet3", "timm/conv"),
    ],
)
def test_unknown_names_offer_near_ones(name: str, offers: str) -> None:
    with pytest.raises(UnknownName, match="unknown architecture") as caught:
        plan(name, num_classes=10, image_shape=(3, 32, 32))
    assert offers in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pretrained_tag_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"untrained here; use timm/resnet18$"):
        plan("resnet18.a1_in1k", num_classes=10, image_shape=(3, 32, 32))


@pytest.mark.parametrize(
    ("name", "size", "remedy"),
    [("convnet4", 8, "use convnet3"), ("convnet5", 16, "use convnet4"), ("convnet3", 7, "8×8")],
)
def test_images_too_small(name: str, size: int, remedy: str) -> None:
    with pytest.raises(ConfigError, match=f"got {size}×{size}; .*{remedy}"):
        plan(name, num_classes=10, image_shape=(3, size, size))


@pytest.mark.parametrize(("num_classes", "shape"), [(0, (3, 32, 32)), (10, (3, 0, 32)), (10, (32, 32))])
def test_impossible_requests(num_classes: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"expected 1 class or more and a \(C, H, W\)"):
        plan("convnet3", num_classes=num_classes, image_shape=shape)


@pytest.mark.parametrize(("depth", "width"), [(2, 128), (6, 32), (3, 0), (3, -1)])
def test_impossible_convnets(depth: int, width: int) -> None:
    with pytest.raises(ConfigError, match=f"depth {depth} and width {width}"):
        convnet_name(depth, width)


class Picky(nn.Module):
    def __init__(self, pixels: int, scores: int) -> None:
        super().__init__()
        self.pixels, self.scores = pixels, scores

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[-1] < self.pixels:
            raise ValueError(f"needs {self.pixels} pixels\nand more")
        return images.mean((1, 2, 3))[:, None].expand(-1, self.scores)


def satm_test_picky(num_classes: int, **_: object) -> nn.Module:
    return Picky(60, num_classes)


def satm_test_refusing(num_classes: int, **_: object) -> nn.Module:
    return Picky(10_000, num_classes)


def satm_test_headless(num_classes: int, **_: object) -> nn.Module:
    return Picky(1, num_classes + 1)


for entry in (satm_test_picky, satm_test_refusing, satm_test_headless):
    register_model(entry)


def test_a_network_that_needs_larger_images_gets_the_smallest_that_work() -> None:
    assert plan("satm_test_picky", num_classes=10, image_shape=(3, 32, 48)).adaptation == {"resize": 64}
    assert plan("satm_test_picky", num_classes=10, image_shape=(3, 60, 80)).adaptation == {}
    network = create("satm_test_picky", num_classes=10, image_shape=(3, 32, 48), seed=Seed(0))
    assert network(torch.zeros(2, 3, 32, 48)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("satm_test_refusing", "needs 10000 pixels"), ("satm_test_headless", "its output is not one score per class")],
)
def test_a_network_that_takes_no_size(name: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(name, num_classes=10, image_shape=(3, 32, 32))
    assert f"timm/{name} cannot take 32×32 3-channel images, not even resized ({reason})" in str(caught.value)
    assert "\n" not in str(caught.value)
