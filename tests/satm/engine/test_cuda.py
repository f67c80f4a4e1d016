"""The engine and whole jobs on a CUDA device, against the CPU. Nothing here runs without one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import satm
from satm import networks
from satm.engine import (
    Full,
    HigherPolicy,
    InnerLoop,
    LastSteps,
    OuterVariables,
    ReplayPolicy,
    TeslaPolicy,
    flatten,
    make_step,
)
from satm.errors import Interrupted, SatmError
from satm.methods.outer import SATM, OuterProblem
from satm.methods.trajectory import condensation as trajectory
from satm.rng import Seed
from tests.helpers import StopAfter, normal

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

N, IMAGES, CLASSES, SHAPE = 5, 6, 3, (2, 16, 16)
POLICIES = {
    "higher": lambda network, notify: HigherPolicy(),
    "replay": lambda network, notify: ReplayPolicy(make_step(network, notify=notify)),
    "tesla": lambda network, notify: TeslaPolicy(make_step(network, notify=notify)),
}


@pytest.fixture(autouse=True)
def _exact():
    """No TF32: it rounds to ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def problem(device, *, dtype=torch.float64, soft=False):
    """The arguments of a policy, on `device`."""
    network = networks.create("convnet3_w4", num_classes=CLASSES, image_shape=SHAPE, seed=Seed(0)).to(device, dtype)
    size = sum(p.numel() for p in network.parameters())
    labels = normal(IMAGES, CLASSES, name="labels").softmax(1) if soft else torch.arange(IMAGES) % CLASSES
    target = normal(size, name="target").to(device, dtype)
    batches = tuple(torch.tensor([i % IMAGES, (i + 2) % IMAGES, (i + 3) % IMAGES], device=device) for i in range(N))
    start = flatten(network.parameters()).detach().cpu() + 0.1 * normal(size, name="theta").to(dtype)
    return {
        "loop": InnerLoop(network=network, batches=batches, transforms=(torch.nn.Identity(),) * N),
        "at": OuterVariables(
            normal(IMAGES, *SHAPE, name="images").to(device, dtype),
            labels.to(device, dtype) if soft else labels.to(device),
            torch.tensor(0.2, dtype=dtype, device=device),
        ),
        "theta_start": start.to(device),
        "outer_loss": lambda theta: (theta - target).square().sum() / size,
    }


def differs(a, b) -> float:
    """‖a − b‖ / ‖b‖ on the CPU."""
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "soft labels"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("truncation", [Full(), LastSteps(2)], ids=["full", "last 2"])
def test_a_hypergradient_is_the_cpu_s(policy, truncation, soft):
    found, expected = (
        POLICIES[policy](given["loop"].network, None)(**given, truncation=truncation)
        for given in (problem("cuda", soft=soft), problem("cpu", soft=soft))
    )
    assert found.images.device.type == "cuda"
    for name in ("loss", "images", "step_size", "step_size_taped", "theta", *(["labels"] if soft else [])):
        assert differs(getattr(found, name), getattr(expected, name)) < 1e-10, name


@pytest.mark.parametrize("policy", ["replay", "tesla"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_compiled_is_eager(policy, dtype):
    given, exact = problem("cuda", dtype=dtype), problem("cuda")
    network = given["loop"].network
    compiled = POLICIES[policy](network, pytest.fail)(**given, truncation=Full()).images
    eager = POLICIES[policy](network, None)(**given, truncation=Full()).images
    truth = POLICIES[policy](exact["loop"].network, None)(**exact, truncation=Full()).images
    # In float32 a ReLU may flip: compiled code must be no further from the truth than eager code, within a factor.
    assert differs(compiled, truth) < (1e-10 if dtype == torch.float64 else max(1e-4, 3 * differs(eager, truth)))


@pytest.mark.parametrize("policy", ["higher", "replay"])
def test_satm_s_outer_rule_is_the_cpu_s(policy):
    def update(device):
        given = problem(device)
        loss = given.pop("outer_loss")
        solver = POLICIES[policy](given["loop"].network, None)
        outer = OuterProblem(**given, loss=loss, policy=solver, truncation=LastSteps(2))
        return SATM()(outer, torch.Generator().manual_seed(0), lambda: outer.loop, {}).images

    assert differs(update("cuda"), update("cpu")) < 1e-9


SETTINGS = {"outer_steps": 6, "experts.count": 1}


def condense(tmp_path, name, *, device="cuda", **options):
    settings = {**SETTINGS, **options.pop("settings", {})}
    preset = satm.choose_preset("digits", ipc=1, method="satm", profile="smoke", settings=settings)
    registry = tmp_path / f"{name}.db"
    made = satm.condense(preset, device=device, registry=registry, **options).record
    return satm.load(made.id, registry=registry), made, registry


def test_the_same_seed_gives_the_same_images(tmp_path):
    one, two = (condense(tmp_path, name)[0] for name in ("one", "two"))
    assert differs(two.images, one.images) < 1e-5  # cuDNN's sums may come in another order


def test_a_stopped_condensation_goes_on(tmp_path):
    whole = condense(tmp_path, "whole")[0]
    with pytest.raises(Interrupted):
        condense(tmp_path, "parts", progress=StopAfter(3))
    assert differs(condense(tmp_path, "parts")[0].images, whole.images) < 1e-5


def test_out_of_memory_says_the_way_out(tmp_path, monkeypatch):
    advance, calls = trajectory.TrajectoryCondensation.advance, []

    def greedy(self):
        calls.append(None)
        if len(calls) == 3:
            torch.empty(2**50, dtype=torch.uint8, device="cuda")
        return advance(self)

    monkeypatch.setattr(trajectory.TrajectoryCondensation, "advance", greedy)
    with pytest.raises(SatmError, match=r"outer step 3 does not fit the memory of cuda.*lower window"):
        condense(tmp_path, "large")
    assert condense(tmp_path, "large")[1].id  # and what was done is kept


def test_a_set_made_on_cuda_is_evaluated_there_and_on_the_cpu(tmp_path):
    made, record, registry = condense(tmp_path, "made")
    assert made.images.device.type == "cpu"
    for device in ("cuda", "cpu"):
        satm.evaluate(record.id, device=device, repeats=1, registry=registry)
        assert satm.results(set=record.id, registry=registry)


@pytest.mark.parametrize("compilation", ["eager", "compiled"])
def test_experts_train_on_cuda(compilation):
    from tests.helpers import experts, image_data

    data = image_data()
    on = {part: getattr(data, part).to("cuda") for part in ("train", "validation", "test")}
    from satm.experts import train_experts
    from tests.helpers import ARCHITECTURE, EXPERTS

    (found,) = train_experts(
        replace(data, **on),
        ARCHITECTURE,
        replace(EXPERTS, count=1, seed=1),
        epochs=2,
        device="cuda",
        compilation=compilation,
    )
    (expected,) = experts(data, epochs=2, count=1, seed=2)
    assert found.snapshot(2).isfinite().all()
    assert found.snapshot(2).shape == expected.snapshot(2).shape
