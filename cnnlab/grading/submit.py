"""nbgrader's ``submit``, all or nothing: a disk that is full costs a sentence, and no traceback.

It is on wherever cnnlab is installed (``etc/jupyter/nbgrader_config.json``).
"""

import errno
import re
import shutil
from pathlib import Path

from nbgrader.exchange.default import ExchangeSubmit as Stock

__all__ = ["ExchangeSubmit", "why"]


class ExchangeSubmit(Stock):
    """Without the half of a submission that did not come to its end."""

    def copy_files(self) -> None:
        try:
            super().copy_files()
        except (OSError, RuntimeError) as error:
            name = self.assignment_filename
            kept = name.rsplit("+", 1)[0] if self.add_random_string else name
            for half in (Path(self.inbound_path, name), Path(self.cache_path, kept)):
                shutil.rmtree(half, ignore_errors=True)
            self.fail(f"Nothing was handed in: {why(error)}. Tell your instructor.")


def why(error: BaseException) -> str:
    """What went wrong, in a sentence; `shutil` puts it into a list of all files."""
    text = str(error)
    if re.search(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT})\]", text):
        return "a disk is full, the exchange's or that of your home"
    told = re.search(r"\[Errno \d+\] ([^'\"]*'[^']*')", text)
    return told[1] if told else text or type(error).__name__
