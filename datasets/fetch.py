"""Downloads that can be trusted: only over https, continued where they stopped, whole and checked before use.

A download grows in NAME.part. When it is complete and has the right SHA-256 it becomes NAME. The hash of what has
proved to be right is noted in SHA256SUMS beside it, in the form that `sha256sum -c` reads; where the makers
publish none, a later download is compared with the first.
"""

from __future__ import annotations

import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pim._version import VERSION
from pim.core.database import alone
from pim.core.files import sha256_of, write_text
from pim.errors import DataError, PimError, UsageError, os_errors_as

ATTEMPTS = 6  # in a row without a single byte
PAUSE = 2.0  # seconds before the second attempt; doubles each time
TIMEOUT = 60.0  # seconds without a byte
PIECE = 1 << 20
SUMS = "SHA256SUMS"
Progress = Callable[[int, int | None], None]  # bytes that are here, and of the whole if that is known
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Download:
    """What to fetch and where to put it."""

    url: str
    target: Path
    sha256: str | None = None  # None: compare with an earlier download
    most: int = 1 << 40  # bytes; a server that sends more, or less than the least, is not believed
    least: int = 0
    check: Callable[[Path], None] = lambda path: None  # raises DataError if a complete file is not what it should be


def fetch(download: Download, progress: Progress = lambda have, total: None, pause: float = PAUSE) -> tuple[Path, str]:
    """Download a file, or continue to, unless it is there.

    Args:
        download: What and where.
        progress: Called with the bytes that are here and the size of the whole, if the server tells it.
        pause: Seconds to wait after a broken connection, doubled each time in a row.

    Returns:
        The file and its SHA-256.

    Raises:
        UsageError: if the address is not https, or another process is fetching the same file.
        DataError: if it cannot be fetched, or is not what it should be; what came in a broken connection is kept.
        PimError: if the disk is full.
    """
    check_address(download.url)
    target = download.target
    with (
        alone(target.with_name(f".{target.name}.lock"), f"another process is fetching {target}; wait for it"),
        os_errors_as(PimError, f"cannot write {target}", "; what came is kept"),
    ):
        if not target.exists():
            _fetch_part(download, progress, pause)
        digest = _checked(download, target)
        _note(target.parent, read_sums(target.parent) | {target.name: digest})
    return target, digest


def check_address(url: str) -> None:
    """That an address is https; http is good enough only for this machine itself.

    Raises:
        UsageError: if not.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise UsageError(f"downloads must come over https; got {url}")


def _fetch_part(download: Download, progress: Progress, pause: float) -> None:
    """Let the .part file grow until it is complete, check it, and give it its name."""
    part = download.target.with_name(f"{download.target.name}.part")
    failures = 0
    while True:
        before = _size(part)
        try:
            if _receive(download, part, progress):
                break
            reason = "the connection ended early"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code == 416 and before:
                if _total(error.headers) == before:
                    break  # all was there: the process that fetched it was killed before it gave it its name
                part.unlink()  # it is no part of what is there now
            elif isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429):
                raise DataError(f"{download.url} cannot be fetched: {error.code} {error.reason}") from error
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        failures = 0 if _size(part) > before else failures + 1
        if failures >= ATTEMPTS:
            raise DataError(
                f"{download.url} cannot be fetched: {reason}, {ATTEMPTS} times; "
                f"{_size(part)} bytes are kept, the same command continues"
            )
        time.sleep(pause * 2 ** max(failures - 1, 0))
    _believe(download, part)
    part.replace(download.target)
    _tag_file(part).unlink(missing_ok=True)


def _believe(download: Download, part: Path) -> None:
    """Look at a complete part before it gets its name; what cannot be right is removed, so that it is fetched anew."""
    try:
        if _size(part) < download.least:
            raise DataError(
                f"{download.url} sent {_size(part)} bytes, at least {download.least} were expected; it may be the "
                "log-in page of a network: open the address in a browser"
            )
        download.check(part)
        _checked(download, part)
    except DataError as error:
        if isinstance(error, _Changed):
            raise
        part.unlink(missing_ok=True)
        _tag_file(part).unlink(missing_ok=True)
        raise DataError(f"{error}; it is removed, the same command fetches it again") from error


def _total(headers: Any) -> int | None:
    """The size of the whole, of an answer that the range asked for is not in it."""
    told = str(headers.get("Content-Range", "")).rpartition("/")[2]
    return int(told) if told.isdigit() else None


def _receive(download: Download, part: Path, progress: Progress) -> bool:
    """One connection: append what comes to the part. Whether the file is complete now."""
    have, tag = _size(part), _read_tag(part)
    headers = {"User-Agent": f"pim/{VERSION}", "Accept-Encoding": "identity"}
    if have and tag:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    opener = urllib.request.build_opener(_HttpsOnly)
    with opener.open(urllib.request.Request(download.url, headers=headers), timeout=TIMEOUT) as response:
        continued = response.status == 206
        if continued and not str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            raise DataError(f"{download.url} answered with another part than was asked for; remove {part}")
        have = have if continued else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdigit() else None
        _check_room(download, part, have, total)
        with open(part, "ab" if continued else "wb") as stream:
            if not continued:
                _write_tag(part, response.headers)  # after the old bytes are gone, before there are new ones
            while piece := response.read(PIECE):
                have += len(piece)
                if have > download.most:
                    raise DataError(f"{download.url} sends more than {download.most} bytes; this is not what was asked")
                stream.write(piece)
                progress(have, total)
    return total is None or have >= total


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not to where bytes could be changed on their way."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_room(download: Download, part: Path, have: int, total: int | None) -> None:
    if total is not None and total > download.most:
        raise DataError(f"{download.url} has {total} bytes, more than {download.most}; this is not what was asked")
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise PimError(f"{part.parent} has {free >> 20} MiB of free space; {(total - have) >> 20} MiB are to come")


class _Changed(DataError):
    """Another file than the one that was fetched before; only a person can say which is right."""


def _checked(download: Download, path: Path) -> str:
    """The SHA-256 of a complete file, compared."""
    digest = sha256_of(path)
    noted = read_sums(path.parent).get(download.target.name)
    again = "; remove it and fetch it again" if path == download.target else ""
    if download.sha256 is not None and digest != download.sha256.lower():
        raise DataError(f"{download.url} has SHA-256 {digest}, expected {download.sha256}{again}")
    if download.sha256 is None and noted is not None and digest != noted:
        kept = f". It is kept as {path.name}; if it is right, remove its line from {path.parent / SUMS}"
        raise _Changed(
            f"{download.url} has SHA-256 {digest}, an earlier download had, by {SUMS}, {noted}{again or kept}"
        )
    return digest


def forget(target: Path) -> None:
    """Remove a file that proved to be damaged, with the note of its hash, so that it is fetched anew.

    Raises:
        PimError: if it cannot be removed.
    """
    with os_errors_as(PimError, f"cannot remove {target}"):
        target.unlink(missing_ok=True)
    _note(target.parent, {name: digest for name, digest in read_sums(target.parent).items() if name != target.name})


def _note(folder: Path, sums: dict[str, str]) -> None:
    if sums != read_sums(folder):
        write_text(folder / SUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def read_sums(folder: Path) -> dict[str, str]:
    """The hashes noted in a folder, by file name."""
    try:
        lines = (folder / SUMS).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {name.lstrip("*"): digest.lower() for digest, _, name in (line.partition("  ") for line in lines) if name}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _read_tag(part: Path) -> str:
    """What the server called the version of which this is a part; "" if it cannot be continued."""
    path = _tag_file(part)
    return path.read_text("ascii", "replace").strip() if path.exists() else ""


def _write_tag(part: Path, headers: Any) -> None:
    tag = headers.get("ETag") or ""
    strong = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified") or ""
    write_text(_tag_file(part), f"{strong}\n")
