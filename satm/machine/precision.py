"""The number format of a network's arithmetic, and whether a device can compute in it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

Precision: TypeAlias = Literal["float32", "bf16"]
"""`bf16`: under torch's autocast to bfloat16 (see `make_step` in satm/engine/step.py for what stays in float32)."""


def missing_bf16(device: torch.device | str = "cpu") -> str | None:
    """Return why `device` has no bfloat16 arithmetic, as the end of a sentence; None if the device has it."""
    if torch.device(device).type == "cuda":
        return None if torch.cuda.is_bf16_supported(including_emulation=False) else "this GPU has no bfloat16 units"
    if torch.device(device).type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return "this CPU has no bfloat16 instructions, without which it is some forty times slower than float32"
