"""Forms: a single file is cut out directly, to the same parts as the parser gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedRequest, TooLarge
from service.uploads import MAX_FIELD_BYTES, Part, cut_one_file, parse_form, parse_parts

KIND = "multipart/form-data; boundary=XyZ"
HEAD = b'Content-Disposition: form-data; name="file"; filename="cat.png"\r\nContent-Type: image/png\r\n\r\n'


def form(*parts: bytes, end: bytes = b"--XyZ--\r\n") -> bytes:
    return b"".join(b"--XyZ\r\n" + part + b"\r\n" for part in parts) + end


def test_a_form_of_one_file_is_cut_directly() -> None:
    for end in (b"--XyZ--\r\n", b"--XyZ--"):
        for kind in (KIND, 'multipart/form-data;boundary="XyZ"', "Multipart/Form-Data; boundary=XyZ"):
            part = cut_one_file(form(HEAD + b"\x00\r\n--XyData", end=end), kind)
            assert part == Part("file", "cat.png", "image/png", b"\x00\r\n--XyData")
    for kind in ('multipart/form-data; boundary="XyZ', 'multipart/form-data; boundary=XyZ"'):
        assert cut_one_file(form(HEAD + b"x"), kind) is None
    bare = b'content-disposition: form-data; name="file"; filename=""\r\n\r\n'
    assert cut_one_file(form(bare + b"x"), KIND) == Part("file", "", None, b"x")


pieces = st.sampled_from(
    [
        *(
            b"--XyZ",
            b"--XyZ--",
            b"--Xy",
            b"\r\n",
            b"\r",
            b"\n",
            b"\r\n\r\n",
            b"--",
            b" ",
            b"",
            b"data",
            b"\x00\xff",
        ),
        *(HEAD, b'Content-Disposition: form-data; name="note"\r\n\r\n', b"Content-Type: text/plain\r\n"),
        *(b'Content-Disposition: form-data; name="a"; filename="a\\"b"\r\n\r\n', b"X-Other: 1\r\n"),
    ]
)


@given(
    st.lists(pieces, max_size=12).map(b"".join)
    | st.lists(pieces, max_size=6).map(lambda p: form(HEAD + b"".join(p)))
)
def test_what_is_cut_directly_is_what_the_parser_gives(body: bytes) -> None:
    part = cut_one_file(body, KIND)
    if part is not None:
        assert parse_parts(body, KIND, 9) == [part]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "cut short"),
        (b"xx", "cannot be read"),
        (form(HEAD + b"x", end=b""), "cut short"),
        (form(b"Content-Type: image/png\r\n\r\nx"), "no name"),
        (b"--XyZ\r\n" + HEAD + b"x\r\n--XyZoops", "cannot be read"),
    ],
)
def test_a_form_that_is_none_is_malformed(body: bytes, says: str) -> None:
    with pytest.raises(MalformedRequest, match=says):
        parse_form(body, KIND, 1)
    with pytest.raises(MalformedRequest, match="no boundary"):
        parse_form(body, "multipart/form-data", 1)


def test_a_form_has_limits() -> None:
    text = b'Content-Disposition: form-data; name="n"\r\n\r\n'
    for body, says in (
        (form(HEAD + b"x", HEAD + b"y", HEAD + b"z"), "more than 2 files"),
        (form(*[text + b"1"] * 33), "more than 32 text fields"),
        (form(text + b"x" * (MAX_FIELD_BYTES + 1)), "1,048,577 bytes"),
    ):
        with pytest.raises(TooLarge, match=says):
            parse_form(body, KIND, 2)


def test_names_and_texts_are_utf_8_or_whatever_they_are() -> None:
    head = 'Content-Disposition: form-data; name="é"; filename="Katze ü.png"\r\n\r\n'
    (part,) = parse_form(form(head.encode() + b"x"), KIND, 1)
    assert (part.name, part.filename) == ("é", "Katze ü.png")
    (part,) = parse_form(form(b'Content-Disposition: form-data; name="t"\r\n\r\n\xe9'), KIND, 1)
    assert part.text == "é"


@pytest.mark.parametrize(
    "headers", [b"X-A: " + b"a" * 5000, b"\r\n".join([b"X-A: a"] * 9)], ids=["long", "many"]
)
def test_the_headers_of_a_part_have_a_limit_that_is_named(headers: bytes) -> None:
    with pytest.raises(TooLarge, match=r"part 2 of the form has .* the limit: 8 headers of 4,096 bytes"):
        parse_form(form(HEAD + b"pixels", headers + b"\r\n" + HEAD + b"pixels"), KIND, 4)
