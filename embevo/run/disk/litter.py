"""What systems and programs leave in every directory: it is no part of a run, and nobody's work."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Finder and AppleDouble, Explorer, NFS clients and FUSE, fsck, Jupyter, Synology, NetApp snapshots, desktops'
# bins and folder settings.
_LITTER: Final = re.compile(
    r"\.DS_Store|\._.*|\.AppleDouble|Thumbs\.db|desktop\.ini|\.nfs.*|\.fuse_hidden.*|lost\+found"
    r"|\.ipynb_checkpoints|@eaDir|\.snapshots?|\.Trash.*|\.directory",
    re.IGNORECASE,
)


def is_litter(name: str) -> bool:
    """Whether a file or directory of this name is litter, whatever is in it."""
    return _LITTER.fullmatch(name) is not None


def paths_below(root: Path) -> Iterator[Path]:
    """Every file and directory below one but for litter, sorted by directory; links are not followed."""
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not is_litter(name))
        for name in sorted((*names, *files)):
            if not is_litter(name):
                yield Path(directory, name)
