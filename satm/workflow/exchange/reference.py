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

_SAMPLE = 5000  # real images that expected moments are measured on
_MODELLED, _FEWEST = 2000, 40  # real images that the spaces are modelled on: half give directions, half their variances
_VALUES = 2**26  # of these images in memory, at most


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A real data set: its images if they are on this machine, else the facts of its catalogue entry."""

    config: ImportConfig
    spec: DatasetSpec | None  # None: a folder of the user's own
    data: ImageData | None  # None: the images are not on this machine, and `spec` is known
    root: Path | None
    progress: Progress

    @classmethod
    def find(cls, config: ImportConfig, root: Path | None, progress: Progress) -> Reference:
        """The data set of `config`, never downloaded. Raises as `satm.data.load` does."""
        here = at_hand(config.dataset, root)
        data = load_imported(config, data_root=root, progress=progress) if here else None
        return cls(config=config, spec=spec_of(config.dataset), data=data, root=root, progress=progress)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes by label."""
        if self.data is not None:
            return self.data.classes
        assert self.spec is not None  # `at_hand` refuses a name that is neither in the catalogue nor a folder
        return self.spec.class_names

    @property
    def label_of(self) -> dict[str, int]:
        """The label for every name that the folder of a class may have: its own, or its WordNet id."""
        subset = self.spec.subset if self.spec is not None else ()
        ids = {wnid: label for label, (_, wnid, _) in enumerate(subset)}
        return ids | {name: label for label, name in enumerate(self.classes)}

    def preprocessing(self, claims: Claims, layout: Layout, channels: int) -> Preprocessing:
        """The transform that takes real images into the set's space.

        Its constants are the user's, else the layout's, else the catalogue's, else measured on the images. Raises
        DataError if a whitening cannot be fitted or the images have another number of channels.
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
        """Models of the real images in every space that a set may lie in; None if there are no images, or too few.

        `bytes` are pixels in 0..255. `preprocessing` is that of the claimed space; the others are the usual ones.
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
        if isinstance(preprocessing, ZCA) and preprocessing.unit is not None:  # KIP's own
            models["zca"] = SpaceModel.of(directions.project(preprocessing(held_out)))
        return directions, models

    def expected_moments(self, preprocessing: Preprocessing) -> Moments:
        """The moments of the real images in the space of `preprocessing`.

        They are measured on a sample of the images; without images, the catalogue's constants are taken to that space.
        """
        if self.data is not None:
            some = self.data.train.images[:: max(1, len(self.data.train) // _SAMPLE)]
            if not isinstance(preprocessing, MeanStd):
                return Moments.of(preprocessing(unit_range(some)))
            pixels = measured_mean_std(some)
        else:
            assert self.spec is not None
            pixels = MeanStd(mean=self.spec.mean, std=self.spec.std)
        assert isinstance(preprocessing, MeanStd)  # whitening is fitted on images only
        if len(pixels.mean) != len(preprocessing.mean):
            raise DataError(
                f"images have {len(preprocessing.mean)} channels; {self.config.dataset} has {len(pixels.mean)}"
            )
        return Moments(pixels.mean, pixels.std).normalised(preprocessing)
