"""The section of the report with the images of sets, as in the paper's Figures 4 to 7.

The normalisation or whitening of the images is undone, so that they can be looked at.
"""

from __future__ import annotations

from pathlib import Path

from registry import Group
from satm.errors import SatmError
from satm.home import write_bytes
from satm.parametrisation import parametrisation_from_dict
from satm.report.page import Picture, Section
from satm.workflow.reporting.material import Material, left_out

GRIDS = 12  # the largest number of image grids on a page
LARGEST = 5_000_000  # when the grids on the page have this many bytes together, no further grid is added


def section(material: Material, folder: Path | None) -> Section:
    """A grid of the images of each group's newest set. The group with the newest set comes first.

    If `folder` is given, the grids are also written there as PNG files.
    """
    groups = sorted(material.groups, key=lambda group: group.newest.created, reverse=True)
    pictures: list[Picture] = []
    for number, group in enumerate(groups[:GRIDS], 1):
        if sum(len(each.png or b"") for each in pictures) < LARGEST:
            pictures.append(_picture(number, group, material))
    for each in pictures:
        if folder is not None and each.png is not None:
            write_bytes(folder / f"{each.key}.png", each.png)
    return Section(
        key="images",
        title="Images",
        about="The images that were learned or chosen, back in display space and clipped to it. Of each group the "
        "newest set. Large images are shown smaller.",
        blocks=tuple(pictures),
        missing="There is no set yet.",
        left_out=left_out(len(groups) - len(pictures), "groups"),
    )


def _picture(number: int, group: Group, material: Material) -> Picture:
    from satm.report.grid import grid_png

    record = group.newest
    key, title = f"grid-{number}", f"{record.name}, profile {record.profile}"
    try:
        shown = grid_png(material.store.load(record.name))
    except SatmError as error:
        problem = f"The images of {record.name} cannot be shown: {error}."
        return Picture(key=key, title=title, about="", alt="", problem=problem)
    each = parametrisation_from_dict(record.about.get("parametrisation")).each
    count = f"{record.images * each} images" if each == 1 else f"{record.images * each} images that networks see,"
    about = f"{shown.images} of its {count} of {' × '.join(map(str, record.image_shape[1:]))} pixels, "
    about += "class by class in the order of the labels."
    names = [str(name) for name in record.about["classes"]]
    alt = f"Images of {record.name}: {', '.join(names[:20])}{' …' if len(names) > 20 else ''}"
    return Picture(key=key, title=title, about=about, alt=alt, png=shown.png, size=shown.size)
