"""Corpora from the network: resumed where they broke off, checked, unpacked atomically."""

from __future__ import annotations

import hashlib
import http.client
import lzma
import os
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from http.client import HTTPMessage
from pathlib import Path
from typing import IO

from ..types import Seconds

BLOCK = 1 << 20  # bytes
TIMEOUT: Seconds = 60.0  # without a byte: given up
REPORT: Seconds = 10.0  # between two lines of progress


def download(url: str, path: str | Path, md5: str | None = None) -> None:
    """Fetch `url` to `path`, going on from path.part; nothing to do when `path` is there.

    Raises ValueError without a network, for an address that is not http or https, and for a
    checksum that differs (the file is removed, as going on from it could not correct it)."""
    path = Path(path)
    _check_scheme(url)
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        _fetch(url, part)
    except (
        urllib.error.URLError,
        TimeoutError,
        ConnectionError,
        http.client.HTTPException,  # a cut chunked transfer, a status line that is none
    ) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())[:200]
        raise ValueError(
            f"{url} cannot be downloaded ({reason or type(error).__name__}); run again to go on "
            f"from {part}, or copy the corpus here and name its directory (see db.sh)"
        ) from error
    if md5:
        with open(part, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5:
            part.unlink()
            raise ValueError(f"{url}: the checksum is {found}, not {md5}: removed; run again")
    os.replace(part, path)


def fetch(url: str, downloads: Path, root: Path, inside: str, md5: str | None = None) -> Path:
    """The directory `root`: what is `inside` the tar archive at `url`, downloaded to `downloads`
    and removed once it is unpacked. Nothing to do when `root` is there.

    Where no checksum is known, gzip's own is compared on unpacking."""
    if not root.is_dir():
        archive = downloads / url.rpartition("/")[2]
        download(url, archive, md5)
        unpack(archive, root, inside)
        archive.unlink()
    return root


def unpack(archive: str | Path, directory: str | Path, inside: str) -> None:
    """Unpack the directory `inside` of a tar archive as `directory`, completely or not at all.

    Members that point outside (absolute paths, "..") and devices are refused, and an archive that
    is damaged at any place: it is read to its end, where gzip's checksum is."""
    directory = Path(directory)
    aside = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                _write_member(tar, member, aside)
            while tar.fileobj.read(BLOCK):
                pass
        if not (aside / inside).is_dir():
            raise ValueError(f"{archive} holds no {inside}: it is not the corpus expected")
        os.replace(aside / inside, directory)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk
            raise
        raise ValueError(f"{archive}: damaged ({error}); remove it and run again") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, directory: Path) -> None:
    """Write a file or a directory of the archive. A link becomes a copy of the member it names.

    tarfile's own filter is missing in Python 3.11.2, Debian 12's. Errors: tarfile.TarError."""
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise tarfile.TarError(f"its member {member.name} leads outside")
    target = directory / member.name
    if member.isdir():
        return target.mkdir(parents=True, exist_ok=True)
    try:
        content = tar.extractfile(member)
    except (KeyError, RecursionError):
        content = None
    if content is None:
        raise tarfile.TarError(f"its member {member.name} is no file, or a link to none of it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, open(target, "wb") as out:
        shutil.copyfileobj(content, out, BLOCK)
        if content.tell() < member.size:
            raise tarfile.ReadError(f"its member {member.name} is cut short")


def _check_scheme(url: str, before: str = "http:") -> None:
    """Addresses are http or https; from https (`before`) no redirection leads back to http."""
    allowed = ("https",) if before.startswith("https:") else ("http", "https")
    if urllib.parse.urlsplit(url).scheme not in allowed:
        raise ValueError(f"{url}: only {' and '.join(allowed)} addresses are fetched")


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows only where `download` goes itself."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """urllib's hook. Errors (ValueError): an address that is not fetched."""
        _check_scheme(newurl, req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(Redirects)


def _fetch(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = _OPENER.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to fetch: it broke off before the check
            return
        raise
    with response:
        if response.status != 206:  # a server that cannot go on begins anew
            have = 0
        length = int(response.headers.get("Content-Length", 0))
        total = have + length
        start = last = time.monotonic()
        done = have
        with open(part, "ab" if have else "wb") as out:
            while block := response.read(BLOCK):
                out.write(block)
                done += len(block)
                if (now := time.monotonic()) - last > REPORT:
                    last = now
                    _report(url, done, total, (done - have) / (now - start))
    if length and done < total:
        raise ConnectionError(f"broke off after {done} of {total} bytes")


def _report(url: str, done: int, total: int, rate: float) -> None:
    """`rate`: bytes a second."""
    left = f", {(total - done) / rate:.0f} s left" if rate and total else ""
    print(
        f"{url}: {done / 1e6:.0f}/{total / 1e6:.0f} MB ({rate / 1e6:.1f} MB/s{left})",
        file=sys.stderr,
        flush=True,
    )
