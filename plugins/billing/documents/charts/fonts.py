"""The bundle's fonts, made known to vl-convert: it measures texts by them, so that a drawing is the same anywhere."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp

FAMILIES = "'Source Sans 3', 'Noto Sans Arabic', 'Noto Sans Hebrew', 'Invoice CJK', sans-serif"
"""As the stylesheet of the documents names them."""

_known: set[int] = set()


class _Folder:
    """What keeps a folder of fonts for as long as the process draws."""


_KEEPER = _Folder()


def make_known(fonts: Mapping[str, bytes]) -> None:
    """Register fonts (by path) once a process; vl-convert reads them from files while it draws."""
    import vl_convert

    key = hash(tuple(sorted((path, len(content)) for path, content in fonts.items())))
    if key in _known:
        return
    folder = Path(mkdtemp(prefix="billing-chart-fonts-"))
    weakref.finalize(_KEEPER, shutil.rmtree, folder, ignore_errors=True)
    for path, content in fonts.items():
        (folder / path.replace("/", "-")).write_bytes(content)
    vl_convert.register_font_directory(str(folder))
    _known.add(key)
