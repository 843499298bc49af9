"""Every kind of file is opened as the picture that it holds, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from opening.kinds import Kind, kinds

from pim.errors import InputError
from pim.images.opener import open_image

ALL = list(kinds())
OPENED = [kind for kind in ALL if kind.want is not None]
REFUSED = [kind for kind in ALL if kind.want is None]
INNER_WORDS = ("Error", "index", "attribute", "unpack_from", "literal", "operand", "NoneType", "b'", "0x")


def called(kind: Kind) -> str:
    return f"{kind.format} {kind.name}"


@pytest.mark.parametrize("kind", OPENED, ids=called)
def test_picture_is_the_one_in_the_file(kind, capfd):
    opened = open_image(kind.stream())
    want = kind.want if kind.want.ndim == 3 else kind.want[..., None].repeat(3, -1)
    assert opened.pixels.shape == want.shape
    assert np.abs(opened.pixels - want).max() <= kind.close
    assert not any("read at" in note for note in opened.decoding.notes)
    assert capfd.readouterr() == ("", "")  # no library prints


@pytest.mark.parametrize("kind", REFUSED, ids=called)
def test_reason_is_true_and_for_people(kind, capfd):
    with pytest.raises(InputError) as caught:
        open_image(kind.stream())
    message = str(caught.value)
    assert message.startswith(f"{kind.stream().name} ")
    assert not any(word in message for word in INNER_WORDS), message
    broken = any(word in kind.name for word in ("short", "beyond", "without a palette"))
    assert broken or "damaged" not in message
    assert capfd.readouterr() == ("", "")


def test_document_says_what_the_opener_does():
    import opener_tables

    document = opener_tables.DOCUMENT.read_text()
    assert opener_tables.written(document) == document
