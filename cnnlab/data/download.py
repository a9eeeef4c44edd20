"""Files from the network: checked, resumed where they broke off, never half there."""

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from cnnlab.progress import progress_bar

__all__ = ["cache_folder", "fetch"]

CHUNK = 1 << 20  # bytes
TIMEOUT = 20  # seconds without a byte


def cache_folder() -> Path:
    """Where downloaded data and computed features lie: ``CNNLAB_DATA``, or ``~/.cache/cnnlab``."""
    return Path(os.environ.get("CNNLAB_DATA") or "~/.cache/cnnlab").expanduser()


def fetch(url: str, path: Path, md5: str, progress: bool | None = None, attempts: int = 3) -> None:
    """Download ``url`` to ``path``; nothing is done if it is there with the right checksum.

    Bytes are gathered in ``<path>.part`` and the file appears under its name only once it is whole
    and its checksum right. A download that breaks off is taken up again where it stopped, in this
    call or, after a crash, in a later one.

    Raises
    ------
    ConnectionError
        If the server cannot be reached or breaks off at every attempt.
    ValueError
        If what arrives has another checksum.
    OSError
        If the file can't be written, such as on a full disk; what came so far is kept.
    """
    if path.exists() and _md5(path) == md5:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(attempts):
        try:
            _receive(url, part, progress)
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            if attempt + 1 < attempts:
                continue
            have = part.stat().st_size / 1e6 if part.exists() else 0
            kept = f"; the {have:.1f} MB that came are kept, call again to resume" if have else ""
            reason = getattr(error, "reason", error)
            raise ConnectionError(f"{url} could not be downloaded ({reason}){kept}") from None
        got = _md5(part)
        if got == md5:
            os.replace(part, path)
            return
        part.unlink()  # a stale beginning, or a changed file: from the start, once more
    raise ValueError(f"{url} arrived with the checksum {got} instead of {md5}; it was deleted")


def _receive(url: str, part: Path, progress: bool | None) -> None:
    """Append to ``part`` what is still missing of ``url``."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # nothing is missing: the checksum will tell
            return
        raise
    with response:
        resumed = response.status == 206  # else the server starts again
        have = have if resumed else 0
        rest = response.headers.get("Content-Length")
        total = have + int(rest) if rest else None
        title = url.rsplit("/", 1)[-1]
        with (
            open(part, "ab" if resumed else "wb") as file,
            progress_bar(total, title, progress, initial=have, unit="B", unit_scale=True) as bar,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    if total is not None and have < total:
        raise ConnectionError(f"the connection closed after {have:,} of {total:,} bytes")


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
