"""The description of a synthetic set as JSON text, which is stored in the metadata of exported files.

`to_text` writes the text. `from_text` checks the text and makes the same set again, from the text and the set's
tensors.
"""

from __future__ import annotations

import json
import re
from typing import Any

from satm.canonical import canonical_json
from satm.errors import DataError, SatmError
from satm.exchange.files import shown
from satm.synthetic import SyntheticSet
from satm.types import Images, Labels

KEY = "satm"  # the key of the text in the metadata of Parquet and safetensors files
_PLAIN = re.compile(r"[\w][\w.+ -]{0,99}")  # a name that is safe in file names, SQL columns and the terminal


def to_text(synthetic: SyntheticSet) -> str:
    """Return the description of the set, its parents (what it was made from) and its id as JSON."""
    return canonical_json(
        {"version": 1, "id": synthetic.id, "about": synthetic.describe(), "parents": list(synthetic.parents)}
    )


def from_text(text: str | bytes, images: Images, labels: Labels, where: str) -> SyntheticSet:
    """Return the set that `to_text` described, made of the text and of the tensors `images` and `labels`.

    `where` names the file in error messages. Raises DataError if the text is damaged or describes other tensors.
    """
    try:
        carried = json.loads(text, parse_constant=_no_constant)
        about, parents = carried["about"], carried["parents"]
        _check(about, parents)
        found = SyntheticSet.described(about, images=images, labels=labels, parents=tuple(parents))
        if found.id != carried["id"]:
            raise DataError("the id does not fit tensors and description; one of them was changed after the export")
    except SatmError as error:
        raise DataError(f"{where}: the description of the set is wrong: {shown(str(error))}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        said = shown(f"{type(error).__name__}: {error}")
        raise DataError(f"{where}: the description of the set is damaged ({said}); export the set again") from error
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _check(about: dict[str, Any], parents: Any) -> None:
    """Check the values that are used in file names, SQL columns or the terminal.

    Raises ValueError, TypeError or KeyError if one of them is not safe.
    """
    for name in ("dataset", "method", "profile", "label_kind"):
        if not isinstance(about[name], str) or not _PLAIN.fullmatch(about[name]):
            raise ValueError(f"{name} is not a plain name")
    if about["label_kind"] not in ("hard", "probabilities", "logits"):
        raise ValueError(f"label_kind {about['label_kind']} is unknown")
    for name in ("ipc", "seed"):
        if not isinstance(about[name], int) or isinstance(about[name], bool) or not 0 <= about[name] < 2**63:
            raise ValueError(f"{name} is not a whole number from 0 to 2^63 - 1")
    rate = about["step_size"]
    if rate is not None and (not isinstance(rate, float) or not 0 < rate < 1e30):
        raise ValueError("step_size is not a decimal number between 0 and 1e30")
    texts = [*about["classes"], *parents]
    if not all(isinstance(each, str) and len(each) < 200 and each.isprintable() for each in texts):
        raise ValueError("classes or parents are not lists of printable texts below 200 characters")
    if not isinstance(about["config"], dict):
        raise TypeError("config is not a table")
    space = about["preprocessing"]
    if space["kind"] == "zca":
        if not re.fullmatch("[0-9a-f]{64}", space["key"]):  # the key becomes a file name
            raise ValueError("the key of the whitening is not a sha256")
        if not isinstance(space["eps"], float) or not all(isinstance(side, int) for side in space["shape"]):
            raise ValueError("the whitening is not described by numbers")
    constants = space.get("unit") if space["kind"] == "zca" else space
    if constants and not all(isinstance(v, float) and abs(v) < 1e6 for v in (*constants["mean"], *constants["std"])):
        raise ValueError("mean and std are not numbers")
