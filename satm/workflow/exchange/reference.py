"""The real data set that an imported set is checked against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from satm.data import DatasetSpec, ImageData
from satm.data.catalogue import spec_of
from satm.data.lookup import at_hand
from satm.data.normalise import measured_mean_std
from satm.data.zca import EPS
from satm.errors import ConfigError, DataError
from satm.exchange import Claims, ImportConfig, Layout
from satm.exchange.likeness import Directions, SpaceModel
from satm.exchange.moments import Moments
from satm.preprocessing import ZCA, MeanStd, Preprocessing, unit_range
from satm.progress import Progress
from satm.workflow.evaluate.prepared import load_imported, whitening

_SAMPLE = 5000  # the largest number of real images whose mean and standard deviation are measured
# The largest and the smallest number of real images from which `Reference.spaces` makes its models. One half of the
# images gives the principal directions, and the other half gives the variances in these directions.
_MODELLED, _FEWEST = 2000, 40
_VALUES = 2**26  # the largest number of pixel values of these images, so that they fit in memory


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A real data set: its images if they are on this machine, otherwise only the facts of its catalogue entry."""

    config: ImportConfig
    spec: DatasetSpec | None  # the catalogue entry; None if the data set is a folder of the user
    data: ImageData | None  # the real data; None if they are not on this machine (then `spec` is not None)
    root: Path | None  # the data root; None: the usual places
    progress: Progress

    @classmethod
    def find(cls, config: ImportConfig, root: Path | None, progress: Progress) -> Reference:
        """Find the data set of `config`. It is never downloaded. Raises the errors of `satm.data.load`."""
        here = at_hand(config.dataset, root)
        data = load_imported(config, data_root=root, progress=progress) if here else None
        return cls(config=config, spec=spec_of(config.dataset), data=data, root=root, progress=progress)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their labels."""
        if self.data is not None:
            return self.data.classes
        assert self.spec is not None  # `at_hand` raises for a name that is neither in the catalogue nor a folder
        return self.spec.class_names

    @property
    def label_of(self) -> dict[str, int]:
        """Maps every name that the folder of a class may have to the label of the class.

        The folder can have the name of the class or its WordNet id, as in ImageNet.
        """
        subset = self.spec.subset if self.spec is not None else ()
        ids = {wnid: label for label, (_, wnid, _) in enumerate(subset)}
        return ids | {name: label for label, name in enumerate(self.classes)}

    def preprocessing(self, claims: Claims, layout: Layout, channels: int) -> Preprocessing:
        """Return the transform that brings real images into the space of the set.

        The space `none` is that of pixels, which do not change. For `zca` the whitening is fitted. For `meanstd` the
        mean and standard deviation are the first of these that is known: those that the user states, those that the
        layout prescribes, those of the catalogue, those that are measured on the images. Raises DataError if a
        whitening cannot be fitted, or if the images do not have the data set's number of channels. Raises ConfigError
        if the user does not state one mean and one standard deviation for each of the `channels`.
        """
        if self.config.space == "none":
            return MeanStd(mean=(0.0,) * channels, std=(1.0,) * channels)
        if self.config.space == "zca":
            if self.data is None:
                raise DataError(
                    f"a whitened set needs {self.config.dataset}'s training images to fit the whitening, and they are "
                    "not on this machine; give --data-root"
                )
            return whitening(self.config, data_root=self.root, progress=self.progress)
        if claims.mean is not None and claims.std is not None:
            if not len(claims.mean) == len(claims.std) == channels:
                raise ConfigError(f"mean {claims.mean} and std {claims.std}: the images have {channels} channels")
            return MeanStd(mean=claims.mean, std=claims.std)
        borrowed = self.config.dataset == "cifar100" and layout.cifar10_constants
        spec = spec_of("cifar10") if borrowed else self.spec
        if spec is not None:
            if spec.channels != channels:
                raise DataError(f"images have {channels} channels; those of {self.config.dataset} have {spec.channels}")
            return MeanStd(mean=spec.mean, std=spec.std)
        assert self.data is not None
        return self.data.preprocessing

    def spaces(self, preprocessing: Preprocessing) -> tuple[Directions, dict[str, SpaceModel]] | None:
        """Return models of the real images in every space that the images of a set may have.

        They are the principal directions of real pixels, and a model for each space by its name: `none` (pixels in
        0..1), `bytes` (pixels in 0..255), `meanstd` (normalised) and `zca` (whitened). `preprocessing` is the transform
        of the claimed space; the other spaces have their usual transform. Returns None if there are no real images, or
        too few.
        """
        if self.data is None:
            return None
        images = self.data.train.images
        count = min(len(images), _MODELLED, _VALUES // images[0].numel())
        some = unit_range(images[:: max(1, len(images) // max(1, count))])
        if len(some) < _FEWEST:
            return None
        directions, held_out = Directions.of(some[::2]), some[1::2]
        pixels = SpaceModel.of(directions.project(held_out))
        normalised = preprocessing if self.config.space == "meanstd" else self.data.preprocessing
        models = {
            "none": pixels,
            "bytes": SpaceModel.of(directions.project(255 * held_out)),
            "meanstd": SpaceModel.of(directions.project(normalised(held_out))),
            "zca": pixels.whitened(EPS, dimensions=held_out[0].numel()),
        }
        if isinstance(preprocessing, ZCA) and preprocessing.unit is not None:  # KIP's own kind of whitening
            models["zca"] = SpaceModel.of(directions.project(preprocessing(held_out)))
        return directions, models

    def expected_moments(self, preprocessing: Preprocessing) -> Moments:
        """Return the mean and standard deviation of the real images in the space of `preprocessing`.

        They are measured on a sample of the images. If the images are not on this machine, they are computed from the
        mean and standard deviation in the catalogue.
        """
        if self.data is not None:
            some = self.data.train.images[:: max(1, len(self.data.train) // _SAMPLE)]
            if not isinstance(preprocessing, MeanStd):
                return Moments.of(preprocessing(unit_range(some)))
            pixels = measured_mean_std(some)
        else:
            assert self.spec is not None
            pixels = MeanStd(mean=self.spec.mean, std=self.spec.std)
        assert isinstance(preprocessing, MeanStd)  # without images no whitening can be fitted
        if len(pixels.mean) != len(preprocessing.mean):
            raise DataError(
                f"images have {len(preprocessing.mean)} channels; {self.config.dataset} has {len(pixels.mean)}"
            )
        return Moments(pixels.mean, pixels.std).normalised(preprocessing)
