"""The numbers of online protocols against the golden table: SSD's memory and its learner, SCR."""

from __future__ import annotations

from typing import Any

from protocols.base import PROTOCOLS
from protocols.online.memory import ONLINE_MEMORIES
from protocols.online.ssd import AUGMENTATION
from protocols.published import PUBLISHED
from tests.golden.compared import table

WORDS = {"mlp", "grad", "mse"}
"""What is matched and how, and the head: there is no other. tests/protocols/online compares them."""


def ours() -> dict[str, Any]:
    """What a run with SSD's published settings uses, by the names of its code."""
    figure = PUBLISHED.get("ssd-cifar100")
    memory, learner = (each.configured("paper") for each in (ONLINE_MEMORIES.get("ssd"), PROTOCOLS.get("scr")))
    return {
        "mem_size": figure.buffer,
        "images_per_class": memory.slots_for(figure.buffer or 0, 100),
        "temp": learner.temperature,
        "eps_mem_batch": learner.memory_batch_size,
        "lr_img": memory.learning_rate / 16,  # the space of the set divides pixels by a std of about 0.25
        "summarize_interval": memory.interval,
        "queue_size": memory.queue,
        "mem_weight": memory.relation_weight,
        "num_runs": figure.orders * figure.networks,
        "mem_sim_num": memory.relation_images,
        "num_tasks": figure.steps,
        "batch": learner.batch_size,
        "learning_rate": learner.learning_rate,
        "weight_decay": learner.weight_decay,
        "epoch": 1,  # an online protocol sees each image at most once
        "optimizer_img.momentum": memory.momentum,
        "optimizer_model.lr": memory.network_learning_rate,
        "optimizer_model.momentum": memory.network_momentum,
        "retrieve_update_model.num": memory.replayed,
        "strategy": AUGMENTATION.replace("+", "_"),
        "feat_dim": learner.projection,
        "net_depth": int(memory.network.removeprefix("convnet")),
        "net_width": 128 if "_w" not in memory.network else None,
    }


def test_ssd_and_its_learner_have_the_published_numbers() -> None:
    rows = {row.parameter: row for row in table() if row.method == "ssd"}
    assert {(row.dataset, row.ipc) for row in rows.values()} == {("cifar100", "10")}
    printed = {name: row.value for name, row in rows.items() if row.value not in WORDS}
    found = {name: str(value) if isinstance(value, str) else float(value) for name, value in ours().items()}
    assert found == {name: value if name == "strategy" else float(value) for name, value in printed.items()}
    figure = PUBLISHED.get("ssd-cifar100")
    assert (figure.protocol, figure.dataset, figure.memory, figure.learning_rate) == (
        "scr",
        "cifar100",
        "ssd[M=1000]",
        PROTOCOLS.get("scr").configured("paper").learning_rate,
    )
