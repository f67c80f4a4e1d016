"""The catalogue of the data sets that are known by name: image size, classes, normalisation constants and their source.

To add a data set, add one statement `CATALOGUE.add(DatasetSpec(...))` here or in another file of this folder. Nothing
else has to change. The `name` and `summary` in the statement must be literal strings, because `satm.names` reads them
from the text of the file. A user's own folder of images needs no entry: its classes are found in the folder, and its
normalisation constants are measured on its training images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from satm.errors import ConfigError
from satm.names import Names

if TYPE_CHECKING:
    from satm.data.raw import Raw

# A class of ImageNet-1K: (its index among the 1,000 classes, its WordNet id, its name)
ImageNetClass = tuple[int, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """An entry of the catalogue: the facts about a data set that are known before its files are read.

    If the images are in files, their folder is found by `name` and `folders` (see `satm.data.lookup`). If a Python
    package holds the images, `read` returns them (see `satm.data.digits`). Raises ConfigError if the number of means or
    standard deviations is not `channels`.
    """

    name: str
    summary: str = ""  # one line that describes the data set in lists
    image_size: int  # the height and width in pixels that images get if the user asks for no other size
    channels: int  # 1 for grey images, 3 for RGB
    classes: int | tuple[str, ...]  # the names of the classes in label order, or only their number
    mean: tuple[float, ...]  # the mean of each channel, for pixels in 0..1
    std: tuple[float, ...]  # the standard deviation of each channel, for pixels in 0..1
    folders: tuple[str, ...] = ()  # the names that the folder unpacked from the authors' archive can have
    augment: str = "color_crop_cutout_flip_scale_rotate"  # the DSA augmentations that suit the images
    torchvision: str | None = None  # the class in torchvision.datasets that downloads the data set; None if none does
    subset: tuple[ImageNetClass, ...] = ()  # for a part of ImageNet-1K: its classes, in label order
    # The numbers of training and test images of a data set that has only some of ImageNet's images of its classes (an
    # archive of fast.ai). None for all other data sets.
    images: tuple[int, int] | None = None
    # The name of a data set with the same classes but not the same images. It is never read in place of this data set.
    # None if there is no such other data set.
    kin: str | None = None
    read: Callable[[], Raw] | None = None  # a function that returns the images; None if the images are in files
    source: str  # where the sizes and constants come from
    cite: tuple[str, ...] = ()  # the works to cite: keys of references.bib, or whole BibTeX entries

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ConfigError(f"data set '{self.name}': expected {self.channels} means and standard deviations")

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes in label order; the numbers "0", "1" … if the entry holds no names."""
        return tuple(map(str, range(self.classes))) if isinstance(self.classes, int) else self.classes

    @property
    def in_imagenet(self) -> bool:
        """Whether the data set is a subset of ImageNet-1K that can be read from the files of ImageNet-1K.

        True if it consists of all images of some classes of ImageNet-1K, with ImageNet's own split. False for all other
        data sets: also for fast.ai's archives, which hold only some images of each class, and for ImageNet-1K itself.
        """
        return bool(self.subset) and self.images is None

    @property
    def embedded(self) -> bool:
        """Whether a Python package holds the images, so that the data set needs no files and no data root."""
        return self.read is not None


CATALOGUE: Names[DatasetSpec] = Names("data set", package="satm.data", group="satm.datasets", expects=DatasetSpec)


def spec_of(name: str) -> DatasetSpec | None:
    """Return the entry of data set `name` in the catalogue; None if it has no entry, like a user's own folder."""
    return CATALOGUE.get(name) if name in CATALOGUE else None


_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# The class lists below come from MTT (GeorgeCazenavette/mtt-distillation, utils.py, class Config), which lists indices
# of ImageNet-1K's classes in label order. The WordNet ids and the names are those of the ILSVRC 2012 synset list at the
# same indices.
_IMAGENETTE: tuple[ImageNetClass, ...] = (
    (0, "n01440764", "tench"),
    (217, "n02102040", "English springer"),
    (482, "n02979186", "cassette player"),
    (491, "n03000684", "chain saw"),
    (497, "n03028079", "church"),
    (566, "n03394916", "French horn"),
    (569, "n03417042", "garbage truck"),
    (571, "n03425413", "gas pump"),
    (574, "n03445777", "golf ball"),
    (701, "n03888257", "parachute"),
)
_IMAGEWOOF: tuple[ImageNetClass, ...] = (
    (193, "n02096294", "Australian terrier"),
    (182, "n02093754", "Border terrier"),
    (258, "n02111889", "Samoyed"),
    (162, "n02088364", "beagle"),
    (155, "n02086240", "Shih-Tzu"),
    (167, "n02089973", "English foxhound"),
    (159, "n02087394", "Rhodesian ridgeback"),
    (273, "n02115641", "dingo"),
    (207, "n02099601", "golden retriever"),
    (229, "n02105641", "Old English sheepdog"),
)
_IMAGEFRUIT: tuple[ImageNetClass, ...] = (
    (953, "n07753275", "pineapple"),
    (954, "n07753592", "banana"),
    (949, "n07745940", "strawberry"),
    (950, "n07747607", "orange"),
    (951, "n07749582", "lemon"),
    (957, "n07768694", "pomegranate"),
    (952, "n07753113", "fig"),
    (945, "n07720875", "bell pepper"),
    (943, "n07718472", "cucumber"),
    (948, "n07742313", "Granny Smith"),
)
_IMAGEMEOW: tuple[ImageNetClass, ...] = (
    (281, "n02123045", "tabby"),
    (282, "n02123159", "tiger cat"),
    (283, "n02123394", "Persian cat"),
    (284, "n02123597", "Siamese cat"),
    (285, "n02124075", "Egyptian cat"),
    (291, "n02129165", "lion"),
    (292, "n02129604", "tiger"),
    (290, "n02128925", "jaguar"),
    (289, "n02128757", "snow leopard"),
    (287, "n02127052", "lynx"),
)


_SUBSET_SOURCE = "classes, size and constants: MTT utils.py (GeorgeCazenavette/mtt-distillation)"


def _imagenet_subset(name: str, summary: str, subset: tuple[ImageNetClass, ...], kin: str | None = None) -> DatasetSpec:
    """Return the entry of a data set of 10 classes of ImageNet-1K at 128×128 pixels, as MTT uses them."""
    return DatasetSpec(
        name=name,
        summary=summary,
        image_size=128,
        channels=3,
        classes=tuple(each[2] for each in subset),
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        subset=subset,
        kin=kin,
        source=_SUBSET_SOURCE,
        cite=("russakovsky2015imagenet", "cazenavette2022mtt"),
    )


def _fastai(
    name: str,
    summary: str,
    of: str,
    subset: tuple[ImageNetClass, ...],
    images: tuple[int, int],
    torchvision: str | None,
) -> DatasetSpec:
    """Return the entry of fast.ai's archive `name`: the same classes as the data set `of`, but not the same images.

    The archive holds fewer images of these classes than ImageNet does, and its split is another one: about 70% of its
    images are for training and 30% for test. So accuracies on `name` and on `of` cannot be compared. `images` holds the
    numbers of training and test images.
    """
    archives = tuple(name + size for size in ("", "-320", "-160"))
    return DatasetSpec(
        name=name,
        summary=summary,
        image_size=128,
        channels=3,
        classes=tuple(each[2] for each in subset),
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        # Version 0.1 of satm kept a downloaded archive in the folder of the data set `of`, so the archive is looked for
        # there too.
        folders=(*archives, *(f"{of}/{archive}" for archive in archives)),
        torchvision=torchvision,
        subset=subset,
        images=images,
        kin=of,
        source=f"images: github.com/fastai/imagenette; {_SUBSET_SOURCE}",
        cite=("russakovsky2015imagenet", "fastai-imagenette"),
    )


CATALOGUE.add(
    DatasetSpec(
        name="cifar10",
        summary="60,000 photographs, 10 classes, 32×32 RGB",
        cite=("krizhevsky2009cifar",),
        image_size=32,
        channels=3,
        classes=_CIFAR10_CLASSES,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        folders=("cifar-10-batches-py",),
        torchvision="CIFAR10",
        source="constants: MTT utils.py, the whole field's (std is the mean over images of each image's own)",
    )
)

CATALOGUE.add(
    DatasetSpec(
        name="cifar100",
        summary="60,000 photographs, 100 classes, 32×32 RGB",
        cite=("krizhevsky2009cifar",),
        image_size=32,
        channels=3,
        classes=100,
        mean=(0.5071, 0.4866, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        folders=("cifar-100-python",),
        torchvision="CIFAR100",
        source="constants: DatasetCondensation utils.py (VICO-UoE); MTT and its line use CIFAR-10's here",
    )
)

CATALOGUE.add(
    DatasetSpec(
        name="tiny-imagenet",
        summary="110,000 photographs, 200 classes, 64×64 RGB",
        cite=("le2015tiny",),
        image_size=64,
        channels=3,
        classes=200,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        folders=("tiny-imagenet-200",),
        source="size and constants: MTT utils.py",
    )
)

CATALOGUE.add(
    _imagenet_subset(
        name="imagenette",
        summary="10 easily distinguished classes of ImageNet, 128×128 RGB",
        subset=_IMAGENETTE,
        kin="imagenette2",
    )
)

CATALOGUE.add(
    _imagenet_subset(
        name="imagewoof",
        summary="10 dog breeds of ImageNet, 128×128 RGB",
        subset=_IMAGEWOOF,
        kin="imagewoof2",
    )
)

CATALOGUE.add(
    _fastai(
        name="imagenette2",
        summary="fast.ai's 13,394 images of imagenette's classes, 128×128 RGB",
        of="imagenette",
        subset=_IMAGENETTE,
        images=(9469, 3925),
        torchvision="Imagenette",
    )
)

CATALOGUE.add(
    _fastai(
        name="imagewoof2",
        summary="fast.ai's 12,954 images of imagewoof's classes, 128×128 RGB",
        of="imagewoof",
        subset=_IMAGEWOOF,
        images=(9025, 3929),
        torchvision=None,
    )
)

CATALOGUE.add(_imagenet_subset(name="imagefruit", summary="10 fruits of ImageNet, 128×128 RGB", subset=_IMAGEFRUIT))

CATALOGUE.add(_imagenet_subset(name="imagemeow", summary="10 cats of ImageNet, 128×128 RGB", subset=_IMAGEMEOW))

CATALOGUE.add(
    DatasetSpec(
        name="imagenet-1k",
        summary="1.3 million photographs, 1,000 classes, used at 64×64 RGB",
        cite=("russakovsky2015imagenet",),
        image_size=64,
        channels=3,
        classes=1000,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        folders=("imagenet", "ILSVRC2012"),
        source="64×64 as TESLA (justincui03/tesla); constants: MTT utils.py",
    )
)
