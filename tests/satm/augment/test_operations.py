import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from satm.augment import DIGITS_STRATEGY, DSA, STRATEGY, Draw, DSARanges, apply, draw
from satm.augment.operations import OPERATIONS
from satm.errors import ConfigError, ShapeError, UnknownName
from satm.rng import Seed

N, SHAPE = 6, (3, 7, 10)


def generator(name="test"):
    return Seed(0).child(name).generator()


@pytest.fixture
def images():
    return torch.randn(N, *SHAPE, generator=generator("images"), dtype=torch.float64)


# Each operation, written out image by image and pixel by pixel from the drawn values.


def color(image, *, brightness, saturation, contrast):
    image = image + brightness
    grey = image.mean(0)
    image = torch.stack([grey + saturation * (channel - grey) for channel in image])
    return image.mean() + contrast * (image - image.mean())


def crop(image, *, row, column):
    _, height, width = image.shape
    padded = F.pad(image, (width, width, height, height))  # zeros, wide enough for any shift
    return padded[:, height + row : 2 * height + row, width + column : 2 * width + column]


def cutout(image, *, row, row_end, column, column_end):
    image = image.clone()
    image[:, max(row, 0) : row_end, max(column, 0) : column_end] = 0
    return image


def flip(image, *, flipped):
    return torch.flip(image, [-1]) if flipped else image


def affine(image, matrix):
    theta = torch.tensor([matrix], dtype=image.dtype)
    grid = F.affine_grid(theta, (1, *image.shape), align_corners=True)
    return F.grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0]


def scale(image, *, x, y):
    return affine(image, [[x, 0, 0], [0, y, 0]])


def rotate(image, *, radians):
    cos, sin = math.cos(radians), math.sin(radians)
    return affine(image, [[cos, -sin, 0], [sin, cos, 0]])


LITERAL = {f.__name__: f for f in (color, crop, cutout, flip, scale, rotate)}


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("shape", [SHAPE, (1, 8, 8), (3, 2, 5)])
def test_operation_is_its_definition(op, shape):
    images = torch.randn(N, *shape, generator=generator("images"), dtype=torch.float64)
    for repeat in range(10):
        drawn = draw(op, N, shape, generator(repeat))
        expected = [
            LITERAL[op](image, **{name: value[i].item() for name, value in drawn.values.items()})
            for i, image in enumerate(images)
        ]
        torch.testing.assert_close(apply(images, drawn), torch.stack(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("op", OPERATIONS)
def test_operation_can_be_differentiated_twice(op):
    small = torch.randn(2, 2, 4, 5, generator=generator("small"), dtype=torch.float64, requires_grad=True)
    drawn = draw(op, 2, (2, 4, 5), generator())

    def curved(x):  # an operation is affine: without the cube every second derivative would be 0
        return apply(x, drawn).pow(3).sum()

    assert torch.autograd.gradcheck(curved, small)
    assert torch.autograd.gradgradcheck(curved, small)


@given(seed=st.integers(0, 10**6))
def test_values_stay_in_the_fields_ranges(seed):
    source = Seed(seed).generator()
    values = {op: draw(op, 50, (3, 32, 32), source).values for op in OPERATIONS}
    assert values["color"]["brightness"].abs().max() <= 0.5
    assert 0 <= values["color"]["saturation"].min() <= values["color"]["saturation"].max() <= 2
    assert 0.5 <= values["color"]["contrast"].min() <= values["color"]["contrast"].max() <= 1.5
    for axis in ("row", "column"):
        assert values["crop"][axis].abs().max() <= 4
        start, end = values["cutout"][axis], values["cutout"][f"{axis}_end"]
        assert (end - start == 16).all()
        assert ((start >= -8) & (start <= 24)).all()
    for axis in ("x", "y"):
        assert 1 / 1.2 <= values["scale"][axis].min() <= values["scale"][axis].max() <= 1.2
    assert values["rotate"]["radians"].abs().max() <= math.radians(15)


def test_the_ends_of_the_ranges_are_reached():
    values = {op: draw(op, 2000, (3, 32, 32), generator()).values for op in OPERATIONS}
    assert set(values["crop"]["row"].tolist()) == set(range(-4, 5))
    assert set(values["cutout"]["column"].tolist()) == set(range(-8, 25))
    assert values["flip"]["flipped"].double().mean() == pytest.approx(0.5, abs=0.05)
    assert (values["scale"]["x"].min(), values["scale"]["x"].max()) == pytest.approx((1 / 1.2, 1.2), abs=0.01)
    assert values["scale"]["x"].mean() == pytest.approx((1.2 + 1 / 1.2) / 2, abs=0.01)
    assert values["rotate"]["radians"].max() == pytest.approx(math.radians(15), abs=0.01)
    assert not torch.equal(values["scale"]["x"], values["scale"]["y"])


@pytest.mark.parametrize(
    ("op", "ranges"),
    [
        ("crop", DSARanges(crop=0)),
        ("cutout", DSARanges(cutout=0)),
        ("flip", DSARanges(flip=0)),
        ("scale", DSARanges(scale=1)),
        ("rotate", DSARanges(rotate=0)),
    ],
)
def test_no_range_is_no_change(images, op, ranges):
    torch.testing.assert_close(apply(images, draw(op, N, SHAPE, generator(), ranges)), images, rtol=0, atol=1e-14)


def test_neutral_colour_is_no_change(images):
    neutral = {"brightness": torch.zeros(1), "saturation": torch.ones(1), "contrast": torch.ones(1)}
    torch.testing.assert_close(apply(images, Draw("color", neutral)), images, rtol=0, atol=1e-14)


def test_same_generator_same_images_and_the_global_stream_is_unchanged(images):
    before = torch.get_rng_state()
    dsa = DSA()
    first, again = generator(), generator()
    for _ in range(20):
        assert torch.equal(dsa(images, first), dsa(images, again))
    assert torch.equal(torch.get_rng_state(), before)


def test_each_batch_gets_one_operation_and_all_are_equally_frequent():
    source = generator()
    drawn = [draw(STRATEGY, 1, SHAPE, source).op for _ in range(1200)]
    counts = {op: drawn.count(op) for op in OPERATIONS}
    assert min(counts.values()) > 150, counts
    assert {draw(DIGITS_STRATEGY, 1, SHAPE, source).op for _ in range(200)} == set(OPERATIONS) - {"flip"}


@pytest.mark.parametrize("op", OPERATIONS)
def test_parameters_are_drawn_for_every_image_unless_shared(images, op):
    same = images[:1].expand(N, -1, -1, -1)
    own, shared = draw(op, N, SHAPE, generator()), draw(op, N, SHAPE, generator(), shared=True)
    assert len(apply(same, own).unique(dim=0)) > 1
    assert len(apply(same, shared).unique(dim=0)) == 1
    # The siamese use: the same transform of a batch of another size.
    assert torch.equal(apply(images[:2], shared), apply(images, shared)[:2])


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_is_kept_and_coordinates_are_not_rounded(op, dtype):
    images = torch.randn(N, 3, 64, 64, generator=generator()).to(dtype)
    drawn = draw(op, N, (3, 64, 64), generator())
    changed = apply(images, drawn)
    assert changed.dtype == dtype
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(changed.double(), apply(images.double(), drawn), rtol=2 * step, atol=1e-4)


def test_apply_does_not_change_its_input(images):
    before = images.clone()
    for op in OPERATIONS:
        apply(images, draw(op, N, SHAPE, generator()))
    assert torch.equal(images, before)


def test_bad_requests(images):
    with pytest.raises(UnknownName, match="unknown augmentation 'cutoff': did you mean cutout"):
        DSA("color_cutoff")
    with pytest.raises(UnknownName, match="unknown augmentation ''"):
        draw("", N, SHAPE, generator())
    with pytest.raises(ShapeError, match="drawn for 4 images, applied to 6"):
        apply(images, draw("crop", 4, SHAPE, generator()))
    with pytest.raises(ConfigError, match=r"range scale 0.5: expected 1 to inf"):
        DSARanges(scale=0.5)
    with pytest.raises(ConfigError, match="rotate nan"):
        DSARanges(rotate=math.nan)


def test_description_is_json_and_complete():
    described = DSA(DIGITS_STRATEGY, DSARanges(flip=0.25)).to_dict()
    assert described["strategy"] == DIGITS_STRATEGY
    assert DSARanges(**described["ranges"]) == DSARanges(flip=0.25)


@pytest.mark.parametrize("op", OPERATIONS)
def test_operation_under_function_transforms(op):
    """No branch depends on the values of the data, so `torch.func` and a compiler can trace it."""
    several = torch.randn(3, N, *SHAPE, generator=generator("several"), dtype=torch.float64)
    drawn = draw(op, N, SHAPE, generator())
    together = torch.func.vmap(lambda images: apply(images, drawn))(several)
    torch.testing.assert_close(together, torch.stack([apply(images, drawn) for images in several]))
    _, pull_back = torch.func.vjp(lambda images: apply(images, drawn), several[0])
    at = several[0].clone().requires_grad_()
    expected = torch.autograd.grad(apply(at, drawn), at, several[1])
    torch.testing.assert_close(pull_back(several[1]), expected)


@pytest.mark.parametrize("op", OPERATIONS)
def test_operation_can_be_traced_for_a_compiler(op, images):
    drawn = draw(op, N, SHAPE, generator())
    fast = torch.compile(lambda x: apply(x, drawn), fullgraph=True, dynamic=False, backend="aot_eager")
    torch.testing.assert_close(fast(images), apply(images, drawn), rtol=0, atol=1e-12)
