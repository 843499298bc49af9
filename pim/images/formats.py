"""Which format a file has, told by its content; names are only compared with it."""

from __future__ import annotations

from pathlib import PurePath

from pim.errors import InputError

_FTYP = 4  # offset
_BRANDS = {b"avif", b"avis"}  # of AVIF, wherever in the list of brands
_SIGNATURES: dict[str, tuple[bytes, ...]] = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    "JPEG2000": (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n"),
    "QOI": (b"qoif",),
    "PBM": (b"P1", b"P4"),
    "PPM": (b"P2", b"P3", b"P5", b"P6"),
}
_JPEG_TABLES = {0xDB, 0xC4, 0xF8, 0xFE, *range(0xE0, 0xF0)}  # segments that may stand before a frame
_SUFFIXES = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "QOI": (".qoi",),
    "PBM": (".pbm", ".pnm"),
    "PPM": (".ppm", ".pgm", ".pnm"),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
}
_HDR = "HDR and floating point have no one way to sRGB in [0, 1]; tone-map it, or pass an array"
_CONVERT = "convert it to PNG first"
_DEVELOP = "develop it to PNG or TIFF first"
_REFUSED: tuple[tuple[int, tuple[bytes, ...], str, str], ...] = (
    (0, (b"\x76\x2f\x31\x01",), "OpenEXR", _HDR),
    (0, (b"#?RADIANCE", b"#?RGBE"), "Radiance HDR", _HDR),
    (0, (b"PF", b"Pf"), "floating-point PFM", _HDR),
    (0, (b"\xff\x0a", b"\x00\x00\x00\x0cJXL "), "JPEG XL", _CONVERT),
    (0, (b"II\xbc",), "JPEG XR", _CONVERT),
    (_FTYP, (b"ftyphei", b"ftyphev"), "HEIC", _CONVERT),
    (_FTYP, (b"ftypmif1", b"ftypmsf1"), "HEIF without AVIF in it", _CONVERT),
    (_FTYP, (b"ftypcrx",), "a raw photo", _DEVELOP),
    (_FTYP, (b"ftyp",), "a video or an unknown ISO media file", "pass single frames"),
    (8, (b"CR\x02",), "a raw photo", _DEVELOP),
    (0, (b"IIU\x00", b"IIRO", b"FUJIFILMCCD-RAW"), "a raw photo", _DEVELOP),
    (8, (b"AVI ",), "a video", "pass single frames"),
    (0, (b"\x1aE\xdf\xa3",), "a video", "pass single frames"),
    (0, (b"P7",), "PAM", _CONVERT),
    (0, (b"8BPS",), "Photoshop", _CONVERT),
    (0, (b"%PDF",), "PDF", _CONVERT),
    (0, (b"%!PS",), "PostScript", _CONVERT),
    (0, (b"<svg",), "SVG", _CONVERT),
    (0, (b"\x00\x00\x01\x00",), "an icon", _CONVERT),
    (0, (b"DDS ",), "DDS", _CONVERT),
    (0, (b"gimp xcf",), "GIMP", _CONVERT),
    (0, (b"SIMPLE  =",), "FITS", "scale it to [0, 1] and pass an array"),
    (128, (b"DICM",), "DICOM", "scale it to [0, 1] and pass an array"),
    (0, (b"\x89HDF",), "HDF5", "pass an array"),
    (0, (b"\x93NUMPY",), "a NumPy file", "load it and pass the array"),
    (0, (b"PK\x03\x04",), "a ZIP archive", "unpack it first"),
    (0, (b"\x1f\x8b",), "compressed by gzip", "unpack it first"),
)


def identify(head: bytes, name: str) -> str:
    """Tell the format of a file from its first 1024 bytes; its name decides for TGA only, which has no signature.

    Raises:
        InputError: if it is none that can be read, with what it is where that is known.
    """
    if head[_FTYP:].startswith(b"ftyp") and _brands(head) & _BRANDS:
        return "AVIF"
    if _is_jpeg_ls(head):
        raise InputError(f"is JPEG-LS, which cannot be read: {_CONVERT}")
    for offset, signatures, kind, advice in _REFUSED:
        if head.startswith(signatures, offset):
            raise InputError(f"is {kind}, which cannot be read: {advice}")
    if head.startswith(b"RIFF") and head.startswith(b"WEBP", 8):
        return "WEBP"
    for kind, signatures in _SIGNATURES.items():
        if head.startswith(signatures):
            return kind
    if not head:
        raise InputError("is empty")
    if _suffix(name) in _SUFFIXES["TGA"]:
        return "TGA"
    raise InputError(f"is not an image of a known format ({', '.join(_SUFFIXES)}); it begins with {head[:12]!r}")


def _brands(head: bytes) -> set[bytes]:
    """The major and the compatible brands of an ISO media file."""
    listed = head[8 : int.from_bytes(head[:4], "big")]
    return {listed[i : i + 4] for i in range(0, len(listed), 4) if i != 4}  # the second word is a version


def _is_jpeg_ls(head: bytes) -> bool:
    """Whether the frame of a JPEG is that of JPEG-LS; what stands before it is the same."""
    at = 2 if head.startswith(b"\xff\xd8\xff") else len(head)
    while at + 1 < len(head) and head[at] == 0xFF and head[at + 1] in _JPEG_TABLES:
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return head[at : at + 2] == b"\xff\xf7"


def mismatch(kind: str, name: str) -> str | None:
    """A note if the name promises another format than the content has."""
    suffix = _suffix(name)
    if not suffix or suffix in _SUFFIXES[kind] or not any(suffix in known for known in _SUFFIXES.values()):
        return None
    return f"named {suffix} but is {kind}; read by its content"


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower()
