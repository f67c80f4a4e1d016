"""One safetensors file with the tensors `images` and `labels`.

A file that this suite writes also has the whole description of the set as metadata.
"""

from __future__ import annotations

from pathlib import Path

from satm.errors import DataError
from satm.exchange.about import KEY, from_text, to_text
from satm.exchange.base import LAYOUTS, Foreign, Layout
from satm.exchange.files import existing, one_of, shown, unreadable
from satm.exchange.tensors import as_images, as_labels, as_step_size
from satm.home import write_atomically
from satm.synthetic import SyntheticSet


def read_safetensors(path: Path, index: int | None = None) -> Foreign:
    """Read the tensors `images`, `labels` and, if the file has it, `step_size`, and the description if there is one.

    `path` is the file, or a folder with exactly one safetensors file. Other files in the folder are
    ignored. Raises DataError if the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = existing(path)
    file = one_of(path, "*.safetensors") if path.is_dir() else path
    try:
        with safe_open(file, framework="pt") as opened:
            names, text = list(opened.keys()), (opened.metadata() or {}).get(KEY)
            tensors = {name: opened.get_tensor(name) for name in ("images", "labels", "step_size") if name in names}
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, AttributeError, KeyError) as error:
        raise unreadable(file, error) from error
    missing = [name for name in ("images", "labels") if name not in tensors]
    if missing:
        raise DataError(f"{file} has no tensor {' and '.join(missing)}, only {shown(', '.join(names), 80) or 'none'}")
    images = as_images(tensors["images"], str(file))
    labels = as_labels(tensors["labels"], str(file), n=len(images))
    rate = as_step_size(tensors["step_size"], str(file)) if "step_size" in tensors else None
    whole = None if text is None else from_text(text, images, labels, str(file))
    return Foreign(images=images, labels=labels, step_size=rate, files=(file,), whole=whole)


def write_safetensors(synthetic: SyntheticSet, path: Path) -> tuple[str, ...]:
    """Write the tensors `images` and `labels`.

    The description (with the step size), the parents and the id of the set are metadata of the file. So nothing is
    lost, and the returned tuple is empty.
    """
    from safetensors.torch import save_file

    tensors = {"images": synthetic.images, "labels": synthetic.labels}
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # `save_file` makes files that only their owner can read; `write_atomically` gives the usual permissions.
    write_atomically(
        path, lambda to: save_file(ready, to, metadata={KEY: to_text(synthetic)}), otherwise="name another file"
    )
    return ()


LAYOUTS.add(
    Layout(
        name="safetensors",
        summary="one safetensors file; ours carries the whole set",
        read=read_safetensors,
        write=write_safetensors,
        suffix=".safetensors",
        keeps=lambda synthetic: True,
    )
)
