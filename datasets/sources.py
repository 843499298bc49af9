"""Where data sets come from: pages, files, terms, and how they look when unpacked.

Facts as published by their makers. Terms are a summary; the page of the makers decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from pim.errors import check_known


@dataclass(frozen=True)
class RemoteFile:
    """One file that anyone may fetch."""

    part: str  # what it is called on the command line
    url: str
    size: int  # bytes, about; 0 if unknown
    usual: bool = True  # fetched when no part is named

    @property
    def name(self) -> str:
        """The file name in the address."""
        return self.url.partition("?")[0].rsplit("/", 1)[1]


@dataclass(frozen=True)
class Source:
    """How to obtain one data set."""

    name: str
    title: str
    page: str
    terms: str
    size: str
    layout: tuple[str, ...]
    files: tuple[RemoteFile, ...] = ()  # none: it has to be fetched by hand

    def parts(self, wanted: tuple[str, ...]) -> tuple[RemoteFile, ...]:
        """The files of these parts; without any, the usual ones.

        Raises:
            UsageError: if there is no such part.
        """
        check_known(f"{self.name} has no part", wanted, (file.part for file in self.files))
        return tuple(file for file in self.files if (file.part in wanted if wanted else file.usual))


_BAPPS = "https://perceptual-similarity.s3.us-west-2.amazonaws.com/dataset"
_IMAGENET_C = "https://zenodo.org/records/2235448"
_TINY_IMAGENET_C = "https://zenodo.org/records/2536630"

_SOURCES = (
    Source(
        name="bapps",
        title="BAPPS: 2AFC and JND judgements of image patches (Zhang et al. 2018)",
        page="https://github.com/richzhang/PerceptualSimilarity",
        terms="BSD 2-clause licence of the repository that distributes it",
        size="validation 1.1 GB, JND 0.2 GB, training 5.3 GB",
        layout=(
            "dataset/2afc/val/CATEGORY/ref/000000.png, and the same under p0 and p1",
            "dataset/2afc/val/CATEGORY/judge/000000.npy",
            "dataset/jnd/val/CATEGORY/p0/000000.png, p1/000000.png, same/000000.npy",
        ),
        files=(
            RemoteFile("2afc-val", f"{_BAPPS}/twoafc_val.tar.gz", 1_100_000_000),
            RemoteFile("jnd", f"{_BAPPS}/jnd.tar.gz", 200_000_000),
            RemoteFile("2afc-train", f"{_BAPPS}/twoafc_train.tar.gz", 5_300_000_000, usual=False),
        ),
    ),
    Source(
        name="tid2013",
        title="TID2013: 3000 pictures of 24 distortions (Ponomarenko et al. 2013)",
        page="https://www.ponomarenko.info/tid2013.htm",
        terms="research and education; no redistribution of modified versions",
        size="0.9 GB as tid2013.rar, which needs an unpacker of its own",
        layout=(
            "reference_images/I01.BMP to I25.BMP",
            "distorted_images/i01_01_1.bmp to i25_24_5.bmp",
            "mos_with_names.txt, mos_std.txt",
        ),
    ),
    Source(
        name="imagenet-c",
        title="ImageNet-C: ImageNet validation pictures under 19 corruptions (Hendrycks, Dietterich 2019)",
        page=_IMAGENET_C,
        terms="licence on the page; the pictures are those of ImageNet, whose own terms apply. "
        "The clean pictures (ILSVRC2012 val) come from image-net.org, with an account",
        size="five archives of several GB each; 50000 pictures for each corruption and severity",
        layout=("fog/3/n01440764/ILSVRC2012_val_00000293.JPEG, with or without a folder such as weather above fog",),
        files=tuple(
            RemoteFile(group, f"{_IMAGENET_C}/files/{group}.tar?download=1", 0)
            for group in ("noise", "blur", "weather", "digital", "extra")
        ),
    ),
    Source(
        name="tiny-imagenet-c",
        title="Tiny-ImageNet-C: the same for pictures of 64 x 64 pixels, with other constants",
        page=_TINY_IMAGENET_C,
        terms="licence on the page; the pictures are those of ImageNet, whose own terms apply",
        size="one archive; 10000 pictures for each corruption and severity",
        layout=("fog/3/n01443537/test_00000.JPEG",),
        files=(RemoteFile("all", f"{_TINY_IMAGENET_C}/files/Tiny-ImageNet-C.tar?download=1", 0),),
    ),
    Source(
        name="kadid10k",
        title="KADID-10k: 10125 pictures of 25 distortions (Lin, Hosu, Saupe 2019)",
        page="https://database.mmsp-kn.de/kadid-10k-database.html",
        terms="research use; see the page",
        size="3.1 GB",
        layout=("images/I01.png, images/I01_01_01.png to I81_25_05.png", "dmos.csv"),
        files=(RemoteFile("all", "https://datasets.vqa.mmsp-kn.de/archives/kadid10k.zip", 3_100_000_000),),
    ),
    Source(
        name="csiq",
        title="CSIQ: 866 pictures of 6 distortions (Larson, Chandler 2010)",
        page="https://s2.smu.edu/~eclarson/csiq.html, moved to the vision laboratory of Shizuoka University",
        terms="research use; see the page",
        size="about 0.4 GB",
        layout=(
            "src_imgs/1600.png and 29 others",
            "dst_imgs/awgn/1600.AWGN.1.png, and the same under blur, contrast, fnoise, jpeg, jpeg2000",
            "csiq.DMOS.xlsx, or its export csiq.beta.txt: picture, number of type, type, level, deviation, DMOS",
        ),
    ),
    Source(
        name="live",
        title="LIVE release 2: 779 pictures of 5 distortions (Sheikh, Sabir, Bovik 2006)",
        page="https://live.ece.utexas.edu/research/quality/subjective.htm",
        terms="on request to its makers; research use",
        size="about 0.7 GB",
        layout=(
            "refimgs/NAME.bmp",
            "jp2k/img1.bmp to img227.bmp, and the same under jpeg, wn, gblur, fastfading",
            "dmos_realigned.mat, refnames_all.mat",
        ),
    ),
    Source(
        name="pipal",
        title="PIPAL: 23200 training and 1000 validation pictures of 116 distortions (Gu et al. 2020)",
        page="https://www.jasongt.com/projectpages/pipal.html",
        terms="research use; see the page",
        size="several GB",
        layout=(
            "Train_Ref/A0001.bmp",
            "Train_Dist/A0001_00_00.bmp, spread over any number of folders",
            "Train_Label/A0001.txt with lines such as A0001_00_00.bmp,1450.1",
        ),
    ),
)
SOURCES = {source.name: source for source in _SOURCES}


def source(name: str) -> Source:
    """The source of a data set.

    Raises:
        UsageError: if there is no such data set.
    """
    check_known("unknown data set", [name], SOURCES)
    return SOURCES[name]
