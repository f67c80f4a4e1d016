"""Builds a synthetic set from the tensors of a file and from what the user states about them (the claims)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from satm import networks
from satm.data.lookup import split_path
from satm.errors import ConfigError, DataError
from satm.exchange import Claims, Foreign, ImportConfig, Layout
from satm.exchange.files import parents_of
from satm.exchange.labels import labels_by_folder, settled_labels
from satm.exchange.likeness import better_space
from satm.exchange.moments import MARGIN, SHARE, check_moments
from satm.networks import convnet_depth, convnet_name
from satm.preprocessing import Preprocessing
from satm.presets import FOREIGN
from satm.progress import Progress
from satm.synthetic import SyntheticSet
from satm.types import Images, LabelKind, Labels
from satm.workflow.evaluate.prepared import check_fits
from satm.workflow.exchange.reference import Reference


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A set that was checked and may be stored."""

    synthetic: SyntheticSet
    root: str | None = None  # the data root of the real images that the set was checked against; None if there are none
    notes: tuple[str, ...] = ()  # what was assumed about the set, one line for each assumption


def claimed_set(
    foreign: Foreign, layout: Layout, claims: Claims, *, force: bool, data_root: Path | None, progress: Progress
) -> Checked:
    """Build the set that a file holds, and check it. `foreign` is the content of the file.

    What the file does not say is taken from the user's claims, then from the conventions of the layout. The function
    finds the data set first, then the labels, the preprocessing and the step size. `force` accepts images with a mean
    or standard deviation that does not fit the data set.

    Raises ConfigError if a claim is missing or contradicts the file, and DataError if the images or labels do not fit
    the data set.
    """
    claims, root = _completed(claims, foreign.says, data_root)
    reference = Reference.find(_configuration(foreign, layout, claims), root, progress)
    images, labels, kind, ipc = _labelled(foreign, layout, claims, reference)
    config = replace(reference.config, ipc=ipc)
    channels, height, width = images.shape[1:]
    shape = (channels, height, width)
    # Raises an error if the architecture cannot take images of this shape.
    networks.plan(config.architecture, num_classes=len(reference.classes), image_shape=shape)
    preprocessing = reference.preprocessing(claims, layout, channels)
    if foreign.pixels:
        if foreign.enlarged and not force:
            _check_pixels(images)
        images = preprocessing(images).contiguous()
    # Enlarged images are smoother than real ones, so they would not fit the model of any space. For them only
    # `_check_pixels` above checks that they are pixels.
    images, misfit = _in_space(images, preprocessing, reference, force=force, alike=not foreign.enlarged)
    step_size = _step_size(foreign, claims)
    data = reference.data
    synthetic = SyntheticSet(
        images=images,
        labels=labels,
        label_kind=kind,
        step_size=step_size,
        dataset=config.dataset,
        classes=reference.classes,
        ipc=ipc,
        method=claims.method or layout.method,
        preprocessing=preprocessing,
        profile=FOREIGN,
        seed=0,
        config={"import": replace(config, moments_checked=misfit is None).to_dict()},
        parents=parents_of(foreign.files) + ((f"data:{data.fingerprint}",) if data is not None else ()),
    )
    if data is not None:
        check_fits(synthetic, data)
    notes = [] if misfit is None else [f"stored by --force: {misfit}"]
    if data is None:
        notes.append(f"{config.dataset} is not on this machine: moments were compared with the catalogue's constants")
    if step_size is None:
        notes.append("no step size is known: evaluations choose a learning rate on the validation split (--step-size)")
    return Checked(synthetic=synthetic, root=data.root if data is not None else None, notes=tuple(notes))


def _completed(claims: Claims, says: Mapping[str, Any], data_root: Path | None) -> tuple[Claims, Path | None]:
    """Return the claims, completed by what the file says of itself, and the data root of the data set.

    The data set in the returned claims is a name and not a path.
    """
    dataset = says.get("dataset") if claims.dataset is None else claims.dataset
    if dataset is None:
        raise ConfigError("the file does not say what data set it condenses; give --dataset")
    name, root = split_path(dataset, data_root)
    if claims.preprocessing == "none" and says.get("preprocessing") == "meanstd":
        # The configuration in a file says `meanstd` for all images that are not whitened. So the claim `none` does not
        # contradict it.
        says = {**says, "preprocessing": "none"}
    return replace(claims, dataset=name).completed(says), root


def _configuration(foreign: Foreign, layout: Layout, claims: Claims) -> ImportConfig:
    """Return the configuration that says how the set is evaluated.

    Its IPC is the claimed one, or 1 if none is claimed. The true IPC is only known after the labels are read; the
    caller then replaces it.
    """
    space = claims.preprocessing or layout.space
    if space is None:
        raise ConfigError(
            "the file does not say what space its images are in; give --preprocessing meanstd (normalised), zca "
            "(whitened) or none (pixels in 0..1)"
        )
    height, width = foreign.images.shape[2:]
    if height != width:
        raise DataError(f"images are {height}×{width} pixels; expected square ones")
    assert claims.dataset is not None  # `_completed` has raised ConfigError otherwise
    return ImportConfig(
        dataset=claims.dataset,
        ipc=claims.ipc or 1,
        image_size=height,
        space=space,
        architecture=claims.architecture or convnet_name(convnet_depth(height), 128),
        format=layout.name,
        index=claims.index,
    )


def _labelled(
    foreign: Foreign, layout: Layout, claims: Claims, reference: Reference
) -> tuple[Images, Labels, LabelKind, int]:
    """Return the images, their labels, the kind of the labels, and the number of images per class."""
    images, labels, num_classes = foreign.images, foreign.labels, len(reference.classes)
    if foreign.folders is not None and labels is not None:
        labels = labels_by_folder(labels, foreign.folders, reference.label_of, num_classes)
    if foreign.soft is not None and labels is not None:
        settled_labels(labels, n=len(images), num_classes=num_classes, ipc=claims.ipc, claimed=None, default=None)
        order = labels.argsort(stable=True)  # in a set with soft labels, the position of an image gives its class
        images, labels = images[order], foreign.soft[order]
    settled = settled_labels(
        labels,
        n=len(images),
        num_classes=num_classes,
        ipc=claims.ipc,
        claimed=claims.labels,
        default=layout.soft,
    )
    return images, *settled


def _in_space(
    images: Images, preprocessing: Preprocessing, reference: Reference, *, force: bool, alike: bool
) -> tuple[Images, str | None]:
    """Return the images in the space of `preprocessing`, and None if they fit this space.

    uint8 images are pixels and are preprocessed. Float images are only checked: their moments must fit the space and,
    if `alike` is True, no other space may fit them clearly better. If the images do not fit, DataError is raised. With
    `force` it is not raised, and its text is returned in place of None.
    """
    if not images.is_floating_point():
        return preprocessing(images).contiguous(), None
    try:
        expected = reference.expected_moments(preprocessing)
        check_moments(images, expected, reference.config.space, of=reference.config.dataset)
        if alike:
            _check_space(images, preprocessing, reference)
    except DataError as error:
        if not force:
            raise
        return images, str(error)
    return images, None


def _check_pixels(images: Images) -> None:
    """Raise DataError if too many values are outside 0..1. Values that are outside by up to `MARGIN` are accepted."""
    if (inside := float(((images >= -MARGIN) & (images <= 1 + MARGIN)).double().mean())) < SHARE:
        raise DataError(
            f"the images are no pixels in 0..1: {inside:.0%} of their values are from {-MARGIN} to {1 + MARGIN} "
            f"(expected {SHARE:.0%}); divide pixels in 0..255 by 255, or --force to store them as they are"
        )


_SPOKEN = {
    "none": "pixels in 0..1 (--preprocessing none)",
    "bytes": "pixels in 0..255 (divide them by 255 and give --preprocessing none)",
    "meanstd": "normalised images (--preprocessing meanstd)",
    "zca": "whitened images (--preprocessing zca)",
}


def _check_space(images: Images, preprocessing: Preprocessing, reference: Reference) -> None:
    """Raise DataError if another space of the data set fits the images clearly better than the claimed one."""
    spaces = reference.spaces(preprocessing)
    if spaces is None:
        return
    directions, models = spaces
    found = better_space(images, reference.config.space, models, directions)
    if found is not None:
        raise DataError(
            f"the images do not fit --preprocessing {reference.config.space}: {_SPOKEN[found[0]]} of "
            f"{reference.config.dataset} fit better, by {found[1]:.2g} nats a band; give that, or --force to store "
            "them as they are"
        )


def _step_size(foreign: Foreign, claims: Claims) -> float | None:
    if foreign.step_size is None or claims.step_size is None:
        return foreign.step_size or claims.step_size
    if claims.step_size != foreign.step_size:
        raise ConfigError(f"the file says step size {foreign.step_size!r}, not {claims.step_size!r}; leave it out")
    return foreign.step_size
