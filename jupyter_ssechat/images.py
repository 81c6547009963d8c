"""A picture as people have it → the address that a model server takes: ``data:image/…;base64,…`` or http(s)."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from .errors import BadInput

MAX_IMAGE_BYTES = 20 * 2**20

_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
)


def image_urls(images: object) -> list[str]:
    """The addresses of one picture, or of several in a list or a tuple; None is none."""
    if images is None:
        return []
    several = cast("list[object]", images) if isinstance(images, list | tuple) else [images]
    return [image_url(one) for one in several]


def image_url(image: object) -> str:
    """The address of a picture.

    `image` is the name of a file, an http(s) or data address, bytes, a PIL image, a matplotlib figure, or
    anything else that IPython can show as PNG. Raises BadInput for what is no picture, or a very large one.
    """
    if isinstance(image, str) and image.startswith(("data:image/", "http://", "https://")):
        return image
    if isinstance(image, str | Path):
        return _from_file(Path(image).expanduser())
    if isinstance(image, bytes | bytearray):
        return _encoded(bytes(image), "the bytes given")
    return _encoded(_drawn(image), f"the {type(image).__name__} given")


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _encoded(file.read(MAX_IMAGE_BYTES + 1), str(path))
    except OSError as error:
        raise BadInput(f"the image {path} cannot be read: {error.strerror or error}") from None


def _drawn(image: Any) -> bytes:
    """Let an object draw itself, by what matplotlib, PIL and IPython agree on; none of them is imported."""
    buffer = BytesIO()
    if callable(getattr(image, "savefig", None)):
        image.savefig(buffer, format="png")
        return buffer.getvalue()
    if callable(getattr(image, "_repr_png_", None)):
        drawn: Any = image._repr_png_()
        if isinstance(drawn, bytes):
            return drawn
    if callable(getattr(image, "save", None)):
        image.save(buffer, format="PNG")
        return buffer.getvalue()
    raise BadInput(
        f"a {type(image).__name__} is no image; expected a file, bytes, a PIL image or a matplotlib figure"
    )


def _encoded(data: bytes, name: str) -> str:
    if len(data) > MAX_IMAGE_BYTES:
        raise BadInput(f"{name} is larger than {MAX_IMAGE_BYTES // 2**20} MiB; send a smaller image")
    return f"data:image/{_kind(data, name)};base64,{b64encode(data).decode('ascii')}"


def _kind(data: bytes, name: str) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    kind = next((kind for magic, kind in _KINDS if data.startswith(magic)), None)
    if kind is None:
        raise BadInput(f"{name} is no image that models take; expected PNG, JPEG, GIF, WebP or BMP")
    return kind


__all__ = ["image_url", "image_urls"]
