"""Images: whatever people have becomes an address that a model server takes."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.images import MAX_IMAGE_BYTES, image_url, image_urls

PNG = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def decoded(url: str) -> tuple[str, bytes]:
    head, _, data = url.partition(";base64,")
    return head, b64decode(data)


@pytest.mark.parametrize(
    ("begins", "kind"),
    [
        (PNG, "png"),
        (b"\xff\xd8\xff\xe0 jpeg", "jpeg"),
        (b"GIF89a gif", "gif"),
        (b"GIF87a gif", "gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "webp"),
        (b"BM bmp", "bmp"),
    ],
)
def test_the_kind_of_an_image_is_told_by_its_bytes(begins: bytes, kind: str, tmp_path: Path) -> None:
    assert decoded(image_url(begins)) == (f"data:image/{kind}", begins)
    (tmp_path / "without-suffix").write_bytes(begins)
    assert image_url(tmp_path / "without-suffix") == image_url(str(tmp_path / "without-suffix"))
    assert image_url(str(tmp_path / "without-suffix")) == image_url(bytearray(begins))


@pytest.mark.parametrize("url", ["https://h/a.png", "http://h/a", "data:image/png;base64,AAAA"])
def test_an_address_stays_as_it_is(url: str) -> None:
    assert image_url(url) == url


class Drawing:
    """Something that IPython shows as PNG."""

    def __init__(self, **ways: Any) -> None:
        vars(self).update(ways)


def test_figures_and_pictures_draw_themselves() -> None:
    figure = Drawing(savefig=lambda file, format: file.write(PNG))
    shown = Drawing(_repr_png_=lambda: PNG)
    picture = Drawing(save=lambda file, format: file.write(PNG))
    assert {image_url(one) for one in (figure, shown, picture)} == {image_url(PNG)}


def test_a_real_figure_of_matplotlib_and_a_real_picture_of_pillow_draw_themselves() -> None:
    figures, pictures = pytest.importorskip("matplotlib.figure"), pytest.importorskip("PIL.Image")
    for real in (figures.Figure(), pictures.new("RGB", (2, 2))):
        assert decoded(image_url(real))[1].startswith(b"\x89PNG")


def test_one_image_several_or_none_are_a_list() -> None:
    assert image_urls(None) == [] == image_urls([])
    assert image_urls(PNG) == [image_url(PNG)]
    assert image_urls((PNG, "http://h/a")) == [image_url(PNG), "http://h/a"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (b"no image", "expected PNG"),
        (b"", "expected PNG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(MAX_IMAGE_BYTES), "larger than 20 MiB"),
        ("/no/such/file.png", "cannot be read: No such file"),
        ("/", "cannot be read"),
        (7, "a int is no image"),
        (Drawing(_repr_png_=lambda: None), "a Drawing is no image"),
    ],
)
def test_what_is_no_image_is_bad_input_in_one_line(wrong: object, said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        image_url(wrong)
    assert "\n" not in str(error.value)
