"""Small copies of the official layouts of data sets, built in a folder."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image
from scipy.io import savemat

BAPPS_CATEGORIES = ("traditional", "cnn", "superres", "deblur", "color", "frameinterp")
LIVE_COUNTS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}


def picture(path: Path, size: tuple[int, int] = (64, 48), value: int = 0) -> Path:
    """A plain picture; small on disk whatever its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


def textured(path: Path, size: tuple[int, int] = (64, 48), seed: int = 0) -> Path:
    """A colourful picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def label(path: Path, value: float) -> Path:
    """A label of BAPPS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array([value], dtype=np.float32))
    return path


def bapps(root: Path, rows: int = 3, categories: tuple[str, ...] = BAPPS_CATEGORIES, split: str = "val") -> Path:
    """Both halves of BAPPS, as its archives unpack; returns the folder that holds `dataset`."""
    for category in categories:
        inside = root / "dataset" / "2afc" / split / category
        for row in range(rows):
            for part in ("ref", "p0", "p1"):
                picture(inside / part / f"{row:06}.png", (64, 64), 40 * row)
            label(inside / "judge" / f"{row:06}.npy", (0.2 if split == "val" else 0.5) * row)
    for category in ("traditional", "cnn"):
        inside = root / "dataset" / "jnd" / "val" / category
        for row in range(rows):
            for part in ("p0", "p1"):
                picture(inside / part / f"{row:06}.png", (64, 64), 40 * row)
            label(inside / "same" / f"{row:06}.npy", row / 3)
    return root


def tid2013(root: Path, pictures: int = 2, types: tuple[int, ...] = (1, 8, 17)) -> Path:
    """TID2013 with its mixed case of names."""
    lines, deviations = [], []
    for number in range(1, pictures + 1):
        picture(root / "reference_images" / f"I{number:02}.BMP", (512, 384))
        for kind in types:
            for level in range(1, 6):
                odd = kind in (1, 11, 13) and level == 1
                name = f"{'I' if odd else 'i'}{number:02}_{kind:02}_{level}.{'BMP' if odd and number % 2 else 'bmp'}"
                picture(root / "distorted_images" / f"i{number:02}_{kind:02}_{level}.bmp", (512, 384))
                lines.append(f"{6.5 - level + 0.01 * number:.5f} {name}")
                deviations.append("0.13013")
    (root / "mos_with_names.txt").write_text("".join(f"{line}\r\n" for line in lines))
    (root / "mos_std.txt").write_text("".join(f"{line}\r\n" for line in deviations))
    return root


def kadid10k(root: Path, pictures: int = 2, types: int = 2) -> Path:
    """KADID-10k."""
    lines = ["dist_img,ref_img,dmos,var"]
    for number in range(1, pictures + 1):
        picture(root / "images" / f"I{number:02}.png", (512, 384))
        for kind in range(1, types + 1):
            for level in range(1, 6):
                name = f"I{number:02}_{kind:02}_{level:02}.png"
                picture(root / "images" / name, (512, 384))
                lines.append(f"{name},I{number:02}.png,{5.2 - 0.8 * level:.2f},0.5")
    (root / "dmos.csv").write_text("\n".join(lines) + "\n")
    return root


CSIQ_ROWS = [("1600", "noise", 1), ("1600", "jpeg 2000", 2), ("1600", "contrast", 3), ("elk", "blur", 1)]
_CSIQ_FOLDERS = {"noise": ("awgn", "AWGN"), "jpeg 2000": ("jpeg2000", "jpeg2000"), "blur": ("blur", "BLUR")}


def csiq(root: Path, spreadsheet: bool = False) -> Path:
    """CSIQ with the spelling of its folders, files and table."""
    rows: list[list[str | float]] = []
    for at, (name, kind, level) in enumerate(CSIQ_ROWS):
        folder, spelled = _CSIQ_FOLDERS.get(kind, (kind, kind))
        picture(root / "src_imgs" / f"{name}.png", (512, 512))
        picture(root / "dst_imgs" / folder / f"{name}.{spelled}.{level}.png", (512, 512))
        rows.append([name if name != "1600" else 1600, 1, kind, level, 0.05, 0.1 * at])
    if spreadsheet:
        heading: list[list[str | float]] = [
            [],
            ["", "", "", "image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"],
        ]
        xlsx(
            root / "csiq.DMOS.xlsx", {"notes": [["x"]], "all_by_image": heading + [["", "", "", *row] for row in rows]}
        )
    else:
        text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
        (root / "csiq.beta.txt").write_text(text)
    return root


def xlsx(path: Path, sheets: dict[str, list[list[str | float]]]) -> Path:
    """A spreadsheet with shared texts and cells that name their place, as spreadsheet programs write it."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    texts: list[str] = []

    def cell(row: int, column: int, value: str | float) -> str:
        place = f"{chr(ord('A') + column)}{row}"
        if isinstance(value, str):
            texts.append(value)
            return f'<c r="{place}" t="s"><v>{len(texts) - 1}</v></c>'
        return f'<c r="{place}"><v>{value}</v></c>'

    with zipfile.ZipFile(path, "w") as book:
        office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
        numbers = range(len(sheets), 0, -1)  # of the files, which need not be in the order of the sheets
        names = "".join(f'<sheet name="{name}" r:id="rId{i}"/>' for i, name in zip(numbers, sheets, strict=True))
        book.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{space}" xmlns:r="{office}"><sheets>{names}</sheets></workbook>'
        )
        parts = "".join(f'<Relationship Id="rId{i}" Target="worksheets/sheet{i}.xml"/>' for i in numbers)
        book.writestr("xl/_rels/workbook.xml.rels", f"<Relationships>{parts}</Relationships>")
        for number, rows in zip(numbers, sheets.values(), strict=True):
            lines = [
                f'<row r="{r}">' + "".join(cell(r, c, v) for c, v in enumerate(row) if v != "") + "</row>"
                for r, row in enumerate(rows, start=1)
            ]
            data = f"<sheetData>{''.join(lines)}</sheetData>"
            book.writestr(f"xl/worksheets/sheet{number}.xml", f'<worksheet xmlns="{space}">{data}</worksheet>')
        items = "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
        book.writestr("xl/sharedStrings.xml", f'<sst xmlns="{space}">{items}</sst>')
    return path


def live(root: Path, here: int = 3) -> Path:
    """LIVE with whole tables and the first pictures of every folder; every tenth row is an undistorted copy."""
    rows = sum(LIVE_COUNTS.values())
    copies = np.arange(rows) % 10 == 1
    scores = np.where(copies, 0, 10 + 0.05 * np.arange(rows))
    table: dict[str, Any] = {"dmos_new": scores[None], "orgs": copies[None].astype(np.uint8)}
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "dmos_realigned.mat", table | {"dmos_std": np.full((1, rows), 1.5)})
    names = np.empty((1, rows), dtype=object)
    names[0] = ["bikes.bmp" if row % 2 else "sailing1.bmp" for row in range(rows)]
    savemat(root / "refnames_all.mat", {"refnames_all": names})
    for name in ("bikes", "sailing1"):
        picture(root / "refimgs" / f"{name}.bmp")
    for folder in LIVE_COUNTS:
        for number in range(1, here + 1):
            picture(root / folder / f"img{number}.bmp")
    return root


def pipal(root: Path) -> Path:
    """The training split of PIPAL, its distorted pictures spread over two folders."""
    for number in (1, 2):
        picture(root / "Train_Ref" / f"A{number:04}.bmp", (288, 288))
        lines = []
        for kind in (0, 1):
            picture(root / "Train_Dist" / f"Distortion_{kind}" / f"A{number:04}_{kind:02}_03.bmp", (288, 288))
            lines.append(f"A{number:04}_{kind:02}_03.bmp,{1400 + 10 * number + kind}.5")
        (root / "Train_Label").mkdir(exist_ok=True)
        (root / "Train_Label" / f"A{number:04}.txt").write_text("\n".join(lines) + "\n")
    return root


def imagenet_c(root: Path, clean: Path, grouped: bool = True, corruptions: tuple[str, ...] = ("fog", "snow")) -> Path:
    """Two pictures of two classes under two corruptions, and the clean ones, flat."""
    pictures = {"n01440764": "ILSVRC2012_val_00000293", "n01443537": "ILSVRC2012_val_00000236"}
    for seed, (wnid, stem) in enumerate(pictures.items()):
        textured(clean / f"{stem}.JPEG", (300, 280), seed)
        for name in corruptions:
            for severity in range(1, 6):
                inside = root / "weather" / name if grouped else root / name
                textured(inside / str(severity) / wnid / f"{stem}.JPEG", (224, 224), severity)
    return root
