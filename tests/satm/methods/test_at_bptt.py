"""AT-BPTT: its window and its stages against transcriptions of the code, RaT-BPTT as a limit, other rules, resuming."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from satm import networks
from satm.errors import ConfigError, Diverged
from satm.functional import FlatNetwork, flatten
from satm.methods import METHODS, OUTER
from satm.methods.at_bptt import ATBPTTConfig
from satm.methods.rat_bptt import RaTBPTTConfig
from satm.methods.real.automatic import AutomaticWindow, StageEnd
from satm.methods.trajectory.guard import GuardConfig
from satm.parametrisation import PIXELS, Factor
from satm.rng import Seed
from tests.helpers import image_data, in_float64, normal, task
from tests.satm.methods.test_real_loss import NETWORK, SHARED, close, cross_entropy

ALWAYS = 1000.0  # no epoch rises by so many points, so every epoch is calm
STAGES = {"rise_early": ALWAYS, "patience_early": 1, "rise_middle": ALWAYS, "patience_middle": 2}
LOOP = {**SHARED, "augment_real": None, "inner_steps": 6, "step_size": 0.01, "lr_images": 0.01, "clip": 0.3}
# One epoch in the early stage, one in the middle stage, then the late stage.
AT = ATBPTTConfig(**LOOP, **STAGES, window=3, spread=2, window_every=1)
RULE = AutomaticWindow(steps=12, size=5, spread=3, every=1, early=StageEnd(1.5, 3), middle=StageEnd(1.0, 2))


def begin(config, **changes):
    method = "at-bptt" if isinstance(config, ATBPTTConfig) else "rat-bptt"
    return METHODS.get(method).begin(task(image_data(), (), **changes), config)


def in_stage(condensation, stage):
    condensation.restore({**condensation.state(), "window.stage": torch.tensor(stage)})
    return condensation


def published_window(stage, norms, seed, *, total, window, d):
    """ι and w as in `window_start_size` of the code, step by step. A loop from a negative ι has no steps before ι."""
    generator = seed.generator()
    if stage == 2:
        return int(torch.randint(0, total - (window + d) + 1, (), generator=generator)), window + d
    shares = np.exp(np.array(norms) - max(norms))
    shares = np.cumsum(shares / shares.sum())
    position = int(np.searchsorted(shares, float(torch.rand((), generator=generator, dtype=torch.float64))))
    if stage == 3:
        return max(0, min(total - position - (window - d), total - (window - d))), window - d
    changes = [0.0] + [abs(norms[i] - norms[i - 1]) for i in range(1, total)]
    size = int(window - d + 2 * d * (sorted(changes).index(changes[position]) / total))
    return min(position, total - size), size


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_the_window_is_the_published_codes(stage, scale):
    seen = set()
    for draw in range(60):
        norms = scale * normal(12, name=f"norms {draw}").abs()
        state = {**RULE.init(), "stage": torch.tensor(stage)}
        found = RULE.draw(state, Seed(draw), lambda norms=norms: norms)
        expected = published_window(stage, norms.tolist(), Seed(draw), total=12, window=5, d=3)
        assert (found.place, found.size) == expected
        assert found.measured == {"window_start": expected[0], "window": expected[1], "stage": stage}
        assert 0 <= found.place <= 12 - found.size
        seen.add(expected)
    assert len(seen) > 4
    assert {size for _, size in seen} == ({8} if stage == 2 else {2} if stage == 3 else set(range(2, 8)))


def test_a_window_by_hand():
    # Step 2 has nearly all of softmax(g), and the largest change: 11 are smaller, so that w = 2 + ⌊6 · 11/12⌋ = 7.
    norms, late = torch.tensor([0.0, 1.0, 100.0] + 9 * [91.0]), {**RULE.init(), "stage": torch.tensor(3)}
    found = RULE.draw(RULE.init(), Seed(0), lambda: norms)
    assert (found.place, found.size) == (2, 7)
    found = RULE.draw(late, Seed(0), lambda: norms)
    assert (found.place, found.size) == (12 - 2 - 2, 2)
    # Now step 9 has nearly all. 10 changes are smaller than 9: w = 2 + ⌊6 · 10/12⌋, and the place is clipped.
    norms = norms.flip(0)
    found = RULE.draw(RULE.init(), Seed(0), lambda: norms)
    assert (found.place, found.size) == (12 - 7, 7)
    found = RULE.draw(late, Seed(0), lambda: norms)
    assert (found.place, found.size) == (12 - 2 - 9, 2)


def test_equal_norms_give_a_uniform_place_and_the_shortest_window():
    places = []
    for draw in range(40):
        u = float(torch.rand((), generator=Seed(draw).generator(), dtype=torch.float64))
        found = RULE.draw(RULE.init(), Seed(draw), lambda: torch.full((12,), 7.0))
        assert (found.place, found.size) == (min(int(12 * u), 10), 2)  # all changes are 0, so the rank is 0
        places.append(found.place)
    assert set(places) == set(range(11))


@pytest.mark.parametrize("run", range(5))
def test_stages_end_as_in_the_published_code(run):
    every = 3
    rule, state = replace(RULE, every=every), RULE.init()
    walk = torch.randint(-2, 5, (60, every), generator=Seed(run).generator()).flatten().cumsum(0).clamp(0, 64)
    stage, flag2, flag3, old = 1, 0, 0, 0.0
    seen = []
    for epoch in walk.view(60, every):
        for each in epoch.tolist():
            assert int(state["stage"]) == stage  # it changes at the end of an epoch only
            state = rule.judged(state, each, 64)
        accuracy = 100 * float(epoch.sum()) / (64 * every)
        if stage == 1:
            flag2 = flag2 + 1 if accuracy - old < 1.5 else 0
            if flag2 == 3:
                stage = 2
        if stage == 2:
            flag3 = flag3 + 1 if accuracy - old < 1 else 0
            if flag3 == 2:
                stage = 3
        old = accuracy
        seen.append(stage)
        assert int(state["stage"]) == stage
    assert set(seen) == {1, 2, 3}


def gradient(theta, images, labels):
    theta = theta.detach().requires_grad_()
    return torch.autograd.grad(cross_entropy(theta, images, labels), theta)[0]


def adam(theta, m, v, g, i, alpha):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    second = v / (1 - 0.999 ** (i + 1))
    root = torch.where(second > 0, second.clamp(min=1e-300).sqrt(), 0.0)
    return theta - alpha * m / (1 - 0.9 ** (i + 1)) / (root + 1e-8), m, v


def probed(condensation, images, labels, seed):
    """The norms of the gradients of a whole inner loop from the probe's network, written out."""
    data, alpha = condensation.task.data, float(condensation.step_size)
    fresh = networks.plan_for(condensation.task.architecture, data).create(seed.child("network"))
    theta = flatten(fresh.parameters()).detach().double()
    loop = condensation._draw_loop(seed.child("loop").generator(), steps=condensation.config.inner_steps)
    m = v = torch.zeros_like(theta)
    norms = []
    for i in range(loop.steps):
        rows = slice(None) if loop.batches[i] is None else loop.batches[i]
        g = gradient(theta, images[rows], labels[rows])
        norms.append(float(g.norm()))
        theta, m, v = adam(theta, m, v, g, i, alpha)
    return norms


def unrolled(condensation, images, seed, place, size):
    """F of one outer step and θ_N, detached by hand at step `place`."""
    aim = condensation.aim(condensation.label_state, seed)
    loop = condensation._draw_loop(seed.child("loop").generator(), steps=place + size)
    seen = condensation.task.parametrisation.decode(images)
    labels = condensation.labels.repeat_interleave(len(seen) // len(images))
    theta = aim.start.clone().requires_grad_()
    m = v = torch.zeros_like(theta)
    for i in range(place + size):
        if i == place:
            theta, m, v = theta.detach().requires_grad_(), m.detach(), v.detach()
        rows = slice(None) if loop.batches[i] is None else loop.batches[i]
        (g,) = torch.autograd.grad(cross_entropy(theta, seen[rows], labels[rows]), theta, create_graph=True)
        theta, m, v = adam(theta, m, v, g, i, float(condensation.step_size))
    real = aim.loss.loss
    right = (FlatNetwork(NETWORK)(theta, real.images).argmax(1) == real.labels).float().mean()
    return cross_entropy(theta, real.images, real.labels), 100 * float(right)


@pytest.mark.parametrize("engine", ["higher", "replay"])
@pytest.mark.parametrize(("how", "every"), [(PIXELS, 2), (Factor(2), 1)], ids=["pixels", "factor"])
def test_outer_steps_are_their_transcription(how, every, engine):
    config = replace(AT, engine=engine, window_every=every, batch_syn=4)
    condensation = begin(config, parametrisation=how)
    in_float64(condensation)
    images = condensation.images.clone().requires_grad_()
    optimiser = torch.optim.Adam([images], lr=config.lr_images, betas=(0.9, 0.999))
    usual, seen = None, []
    for step in range(3 * every):
        seed = condensation.task.seed.child("outer", step)
        stage = step // every + 1
        if step % every == 0:
            decoded = condensation.task.parametrisation.decode(images.detach())
            labels = condensation.labels.repeat_interleave(len(decoded) // len(images))
            norms = [] if stage == 2 else probed(condensation, decoded, labels, seed.child("probe"))
            place, size = published_window(stage, norms, seed.child("place"), total=6, window=3, d=2)
        expected, accuracy = unrolled(condensation, images, seed, place, size)
        optimiser.zero_grad()
        expected.backward()
        norm = images.grad.norm()
        usual = norm if usual is None else 0.9 * usual + 0.1 * norm
        torch.nn.utils.clip_grad_norm_([images], config.clip * usual)
        optimiser.step()
        measured = condensation.advance()
        assert measured["loss"] == pytest.approx(float(expected.detach()), rel=1e-10)
        assert (measured["window_start"], measured["window"], measured["stage"]) == (place, size, stage)
        assert measured["real_accuracy"] == pytest.approx(accuracy)
        close(condensation.images, images.detach())
        seen.append(size)
    assert seen[every] == 5
    assert seen[-1] == 1


def test_in_the_middle_stage_without_spread_it_is_rat_bptt_to_the_bit():
    calm = {"rise_middle": -ALWAYS}  # the middle stage never ends
    at = in_stage(begin(ATBPTTConfig(**LOOP, **{**STAGES, **calm}, window=3, spread=0, window_every=1)), 2)
    rat = begin(RaTBPTTConfig(**LOOP, window=3))
    places = set()
    for _ in range(4):
        found = at.advance()
        assert found == {**rat.advance(), "window": 3, "stage": 2, "real_accuracy": found["real_accuracy"]}
        places.add(found["window_start"])
    assert torch.equal(at.images, rat.images)
    assert len(places) > 1


@pytest.mark.parametrize("rule", ["sgd", "satm", "smooth"])
def test_every_rule_plugs_in_and_resumes_to_the_bit_within_an_epoch(rule):
    chosen = replace(AT, outer=OUTER.get(rule).config(), diagnostics_every=2, window_every=3)
    whole = begin(chosen)
    measured = [whole.advance() for _ in range(5)]
    first = begin(chosen)
    first.advance()
    for done in (1, 4):  # within the first and the second epoch
        second = begin(chosen)
        second.restore(load(save(first.state())))
        for step in range(done, min(done + 3, 5)):
            assert second.advance() == measured[step]
        first = second
    assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())
    windows = [(each["window_start"], each["window"]) for each in measured]
    assert windows[0] == windows[1] == windows[2]
    assert windows[3] == windows[4]
    assert [each["stage"] for each in measured] == [1, 1, 1, 2, 2]


def test_a_run_can_be_saved_before_its_first_outer_step():
    state = begin(AT).state()
    assert load(save(state)).keys() == state.keys()


def test_a_window_that_is_too_long_for_new_settings_is_chosen_anew():
    state = {**RULE.init(), "taken": torch.tensor(1), "place": torch.tensor(20), "size": torch.tensor(10)}
    window = RULE.draw(state, Seed(0), lambda: torch.ones(12))
    assert window.place + window.size <= 12


def test_a_failed_step_changes_neither_window_nor_stage():
    condensation = begin(replace(AT, guard=GuardConfig(max_loss=1e-6, retries=0)))
    before = condensation.state()
    with pytest.raises(Diverged, match="loss"):
        condensation.advance()
    assert all(torch.equal(value, before[name]) for name, value in condensation.state().items())
    condensation.images = torch.full_like(condensation.images, torch.nan)
    with pytest.raises(Diverged, match="gradients of the probe not finite"):
        condensation.advance()


def test_time_and_memory_are_foreseen_for_the_probe_and_for_the_longest_window():
    rat = RaTBPTTConfig(**LOOP, window=3)
    config = replace(AT, window_every=4)
    network = begin(config).network
    assert config.choose_engine(network, (1, 8, 8), 6)[1].window == 5
    assert rat.choose_engine(network, (1, 8, 8), 6)[1].window == 3
    assert config.mean_steps() == rat.mean_steps() + 6 / 4
    assert config.images_a_step(6) == rat.images_a_step(6) + 6 * 6 / 4
    short = config.resized(4, 2)  # what is timed: a fixed window, and no probe
    assert [short.largest_window(), short.mean_steps()] == [2, 4]
    found = begin(config).under(short).advance()
    assert found["window_start"] == 2
    assert "stage" not in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spread": 3}, "spread 3: with 6 inner steps and a window of 3, expected 0 to 2"),
        ({"spread": -1}, "spread -1: with 6 inner steps"),
        ({"window": 5}, "spread 2: with 6 inner steps and a window of 5, expected 0 to 1"),
        ({"window": None}, "spread 2: with 6 inner steps and a window of 6, expected 0 to 0"),
        ({"window_every": 0}, "window_every 0: expected at least 1"),
        ({"patience_early": 0}, "patience_early 0: expected at least 1"),
        ({"patience_middle": 0}, "patience_middle 0: expected at least 1"),
        ({"rise_early": float("nan")}, "rise_early nan: expected a finite number of points"),
        ({"rise_middle": float("inf")}, "rise_middle inf: expected a finite number"),
        ({"outer": OUTER.get("satm").config(tau=1)}, "outer.tau: the window of this method has no fixed place"),
        ({"engine": "tesla"}, "engine tesla: it drops paths"),
    ],
)
def test_what_cannot_work_is_refused_by_name(changes, said):
    with pytest.raises(ConfigError, match=said):
        replace(AT, **changes)
