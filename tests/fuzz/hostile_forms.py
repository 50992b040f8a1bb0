"""Forms and addresses that are none, or that never end."""

from tests.fuzz.corpus import BOUNDARY, FORM, MEGABYTE, Case, file_part, form, text_part
from tests.fuzz.hostile_pictures import png

PICTURE = png()
START = b"--XyZ\r\n"
DISPOSITION = b"Content-Disposition: form-data; name=file; filename=a.png"
LARGE = 24 * MEGABYTE

BODIES: dict[str, bytes] = {
    "empty": b"",
    "only an end": b"--XyZ--\r\n",
    "unterminated": form(file_part(PICTURE), end=b""),
    "unterminated header": START + DISPOSITION,
    "no header": START + b"\r\n" + PICTURE + b"\r\n--XyZ--",
    "no name": form(b"Content-Disposition: form-data\r\n\r\nx"),
    "no disposition": form(b"X-A: b\r\n\r\nx"),
    "an empty name": form(file_part(PICTURE, b"")),
    "a header of 10 MB": form(b"X-A: " + b"a" * (10 * MEGABYTE) + b"\r\n" + DISPOSITION + b"\r\n\r\nx"),
    "a header name of 10 MB": form(b"X" * (10 * MEGABYTE) + b": a\r\n" + DISPOSITION + b"\r\n\r\nx"),
    "a million headers": form(b"X: a\r\n" * 10**6 + DISPOSITION + b"\r\n\r\nx"),
    "a file name of 4 KB": form(file_part(PICTURE, filename=b"a" * 4000)),
    "a field name of 4 KB": form(file_part(PICTURE, b"a" * 4000)),
    "100,000 texts": form(*[text_part(b"a", b"")] * 100_000),
    "100,000 files": form(*[file_part(b"")] * 100_000),
    "33 texts": form(file_part(PICTURE), *[text_part(b"a", b"1")] * 33),
    "a text of 2 MB": form(file_part(PICTURE), text_part(b"filter", b"a" * (2 * MEGABYTE))),
    "nested": form(
        b"Content-Disposition: form-data; name=file\r\nContent-Type: "
        + FORM.encode()
        + b"\r\n\r\n"
        + form(file_part(PICTURE))
    ),
    "null bytes in names": form(file_part(PICTURE, b"fi\0le", b"a\0.png")),
    "line ends in names": form(file_part(PICTURE, b"fi\rle", b"a%0d%0a.png")),
    "a bare line end in a name": form(file_part(PICTURE, b"fi\nle")),
    "names of RFC 2231": form(
        b"Content-Disposition: form-data; name*=utf-8''file; filename*=utf-8''%C3%A9\r\n\r\n" + PICTURE
    ),
    "names of RFC 2231, broken": form(
        b"Content-Disposition: form-data; name*=nope'%zz; filename*0*=x\r\n\r\n" + PICTURE
    ),
    "names of RFC 2231, in pieces": form(
        b'Content-Disposition: form-data; name*0="fi"; name*1="le"; filename*99999999999=x\r\n\r\n' + PICTURE
    ),
    "names that are no UTF-8": form(file_part(PICTURE, b"\xff\xfe", b"\xc3\x28")),
    "half a surrogate pair as a name": form(file_part(PICTURE, b"\xed\xa0\x80")),
    "a quote that never ends": form(b'Content-Disposition: form-data; name="file\r\n\r\nx'),
    "a thousand parameters": form(DISPOSITION + b"; a=b" * 700 + b"\r\n\r\nx"),
    "the name twice": form(DISPOSITION + b"; name=files\r\n\r\n" + PICTURE),
    "a path as a file name": form(file_part(PICTURE, filename=b"../../../etc/passwd")),
    "bare line feeds": form(file_part(PICTURE)).replace(b"\r\n", b"\n"),
    "bare carriage returns": form(file_part(PICTURE)).replace(b"\r\n", b"\r"),
    "mixed line ends": START[:-2] + b"\n" + file_part(PICTURE) + b"\n--XyZ--\r\n",
    "a file twice": form(file_part(PICTURE), file_part(PICTURE)),
    "the file as a text": form(text_part(b"file", PICTURE)),
    "a field twice": form(
        file_part(PICTURE), text_part(b"filter", b"identity"), text_part(b"filter", b"box-3")
    ),
    "24 MB of line ends": form(file_part(b"\r\n" * (LARGE // 2))),
    "24 MB of nearly ends": form(file_part(b"\r\n--Xy" * (LARGE // 6))),
    "24 MB before it": b"\r\n" * (LARGE // 2) + form(file_part(PICTURE)),
    "24 MB after it": form(file_part(PICTURE)) + b"z" * LARGE,
    "24 MB of one boundary after the other": START * (LARGE // 7),
    "unknown transfer encoding": form(DISPOSITION + b"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA"),
    "a wrong part type": form(DISPOSITION + b"\r\nContent-Type: " + b"a" * 3000 + b"\r\n\r\n" + PICTURE),
    "a filter that is deep": form(file_part(PICTURE), text_part(b"filter", b"[" * 100_000)),
    "a filter of NaN": form(file_part(PICTURE), text_part(b"filter", b"[[NaN]]")),
    "a filter of many digits": form(file_part(PICTURE), text_part(b"filter", b"[[" + b"9" * 100_000 + b"]]")),
    "a filter with half a surrogate pair": form(file_part(PICTURE), text_part(b"filter", b'"\\ud800"')),
    "a huge padding": form(
        file_part(PICTURE), text_part(b"filter", b"identity"), text_part(b"padding", b"1000000000")
    ),
    "an unknown field": form(file_part(PICTURE), text_part(b"x" * 4000, b"1")),
    "many unknown fields": form(file_part(PICTURE), *[text_part(b"%d" % n * 900, b"1") for n in range(30)]),
}
TYPES = {
    "no boundary": "multipart/form-data",
    "an empty boundary": "multipart/form-data; boundary=",
    "a quoted boundary without end": 'multipart/form-data; boundary="XyZ',
    "a boundary of 20 KB": "multipart/form-data; boundary=" + "a" * 20_000,
    "another boundary": "multipart/form-data; boundary=other",
    "two boundaries": f"multipart/form-data; boundary=other; boundary={BOUNDARY}",
    "a boundary of RFC 2231": "multipart/form-data; boundary*=utf-8''XyZ",
    "a boundary with line ends": "multipart/form-data; boundary=%0d%0a",
    "multipart of another kind": f"multipart/mixed; boundary={BOUNDARY}",
    "multipart nearly": f"multipart/form-datax; boundary={BOUNDARY}",
    "a type of 20 KB": "a" * 20_000,
    "a type of nothing": ";;;;",
}
UPLOADS = ("/predict", "/predict/batch", "/convolve/image", "/layers", "/explain")
FORMS = [
    *(
        Case(name, path, lambda body=body: body, FORM)
        for name, body in BODIES.items()
        for path in UPLOADS[:3]
    ),
    *(
        Case(name, path, lambda: form(file_part(PICTURE)), kind)
        for name, kind in TYPES.items()
        for path in UPLOADS
    ),
]

QUERIES = {
    "a number of 5,000 digits": "top_k=" + "9" * 5000,
    "a number of 400 digits": "top_k=" + "9" * 400,
    "infinity": "top_k=Infinity",
    "an exponent": "top_k=1e999",
    "a null byte": "model=%00",
    "a path": "model=../../../../etc/passwd",
    "no UTF-8": "model=%ff%fe",
    "half a surrogate pair": "model=%ed%a0%80",
    "20 KB of it": "model=" + "a" * 20_000,
    "a name of 20 KB": "a" * 20_000,
    "4,000 fields": "&".join(f"a{n}=1" for n in range(4000)),
    "the same 4,000 times": "top_k=1&" * 4000,
    "no name": "=1",
    "signs": "&&&===&",
}
MATRIX_QUERIES = {
    "deep": "filter=" + "[" * 20_000,
    "many digits": "stride=" + "9" * 20_000,
    "not a number": "value=NaN&padding_mode=constant",
    "half a surrogate pair in JSON": "filter=%22%5Cud800%22",
    "half a surrogate pair as a name": "%22%5Cud800%22=1",
    "a field twice": "filter=identity&filter=identity",
}
ADDRESSES = [
    *(Case(name, f"{path}?{query}", lambda: PICTURE) for name, query in QUERIES.items() for path in UPLOADS),
    *(
        Case(name, f"/layers/{layer}", lambda: PICTURE)
        for name, layer in {
            "a null byte": "%00",
            "a path": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            "no UTF-8": "%ff",
            "a name of 20 KB": "a" * 20_000,
        }.items()
    ),
]
