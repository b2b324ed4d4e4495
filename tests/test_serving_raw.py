"""Proofs for the server against raw bytes: each request has its one right verdict.

A verdict is the statuses of all answers on one connection that sends the request, and
then asks for a page that does not exist. If that second request is answered (404), the
server read the first one to its last byte and no further. If not, it closed the
connection, so that nobody can be misled about where a request ends (RFC 9112). The
requests that are answered and those that are refused are each other's controls.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from helpers.served import Served

pytestmark = pytest.mark.slow

LIMIT_S = 1.0  # of the server below, for headers and for bodies
BODY = b'{"text":"Oil prices rise"}'
JSON = b"Content-Type: application/json"
CLOSE = b"Connection: close"
CHUNKED = b"Transfer-Encoding: chunked"
MAX_BODY_BYTES, MAX_CHARACTERS, MAX_TEXTS = 262_144, 20_000, 32  # the defaults
MAX_CHUNKS = MAX_BODY_BYTES // 64
NUM_REQUESTS = 330


def get(
    *fields: bytes, line: bytes = b"GET /healthz HTTP/1.1", host: bytes = b"Host: x"
) -> bytes:
    """A request without a body; empty fields are left out."""
    return b"\r\n".join([*filter(None, [line, host, *fields]), b"", b""])


def framed(
    *fields: bytes, body: bytes = BODY, kind: bytes = JSON, path: bytes = b"/predict"
) -> bytes:
    """A POST whose fields say themselves where its body ends."""
    return get(kind, *fields, line=b"POST %b HTTP/1.1" % path) + body


def post(body: bytes = BODY, *fields: bytes, **more: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return framed(length, *fields, body=body, **more)


def batch(body: object) -> bytes:
    return post(json.dumps(body).encode(), path=b"/predict/batch")


def chunk(body: bytes = BODY, more: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(body), more, body)


def chunked(chunks: bytes, *fields: bytes) -> bytes:
    return framed(CHUNKED, *fields, body=chunks)


LAST = b"0\r\n\r\n"
SIZE = b"%x" % len(BODY)
AFTER = get(CLOSE, line=b"GET /nowhere HTTP/1.1")

# --- Requests that are answered ---------------------------------------------------

LINES = {
    "a plain request": get(),
    "line feeds alone": get().replace(b"\r\n", b"\n"),
    "a query": get(line=b"GET /healthz?a=b&c HTTP/1.1"),
    "an empty query": get(line=b"GET /healthz? HTTP/1.1"),
    "an escaped letter": get(line=b"GET /%68ealthz HTTP/1.1"),
    "a HEAD": get(line=b"HEAD /healthz HTTP/1.1"),
    "a file of the page": get(line=b"GET /static/page.js HTTP/1.1"),
    "an absolute target": get(line=b"GET http://x/healthz HTTP/1.1"),
    "an absolute target with a port": get(line=b"GET http://x:80/healthz HTTP/1.1"),
    "an absolute target in capitals": get(line=b"GET HTTPS://X/healthz HTTP/1.1"),
    "an absolute target with a query": get(line=b"GET http://x/healthz?a HTTP/1.1"),
    "an absolute target of another host": get(line=b"GET http://y/healthz HTTP/1.1"),
    "an absolute target that is posted": framed(
        b"Content-Length: %d" % len(BODY), path=b"http://x/predict"
    ),
}
FIELDS = {
    "capitals in a name": get(b"X-LONG: x", host=b"HOST: x"),
    "small letters in a name": get(host=b"host: x"),
    "signs in a name": get(b"!#$%&'*+-.^_`|~: x"),
    "an empty value": get(b"A:"),
    "no blank before a value": get(b"A:b"),
    "blanks around a value": get(b"A: \t b \t "),
    "a tab in a value": get(b"A: b\tc"),
    "a colon in a value": get(b"A: b:c"),
    "Latin-1 in a value": get(b"A: caf\xe9"),
    "UTF-8 in a value": get("A: café".encode()),
    "a control character in a value": get(b"A: b\x01c"),
    "a folded value": get(b"A: b\r\n c"),
    "a field twice": get(b"A: b", b"A: c"),
    "a hundred fields": get(*[b"X-%d: y" % k for k in range(100)]),
    "no host in it": get(host=b"Host:"),
    "a host with a port": get(host=b"Host: me.example:8000"),
    "a host with an underscore": get(host=b"Host: my_service"),
    "a host in IPv6": get(host=b"Host: [2001:db8::1]:80"),
    "an id with a blank": get(b"X-Request-ID: a b"),
    "a range": get(b"Range: bytes=0-1", line=b"GET /static/page.js HTTP/1.1"),
    "a range that is none": get(
        b"Range: bytes=9-1", line=b"GET /static/page.js HTTP/1.1"
    ),
    "many ranges": get(
        b"Range: bytes=" + b"0-1," * 3000, line=b"GET /static/page.js HTTP/1.1"
    ),
}
LENGTHS = {
    "a body": post(),
    "a length with zeros before it": framed(b"Content-Length: 00%d" % len(BODY)),
    "a length with blanks": framed(b"Content-Length: \t%d \t" % len(BODY)),
    "the same length twice": post(BODY, b"Content-Length: %d" % len(BODY)),
    "the same length in a list": framed(b"Content-Length: %d, %d" % ((len(BODY),) * 2)),
    "a name like a length": post(BODY, b"Content_Length: 3"),
    "a body of a GET": get(b"Content-Length: 26") + b"x" * 26,
    "a request as the body of a GET": get(b"Content-Length: %d" % len(get())) + get(),
    "no bytes for a GET": get(b"Content-Length: 0"),
}
CHUNKS = {
    "a chunk": chunked(chunk() + LAST),
    "as many chunks as may be": chunked(
        b"".join(chunk(b"%c" % k) for k in BODY.ljust(MAX_CHUNKS)) + LAST
    ),
    "chunks of a byte": chunked(b"".join(chunk(b"%c" % k) for k in BODY) + LAST),
    "capitals in the coding": framed(
        b"Transfer-Encoding: Chunked", body=chunk() + LAST
    ),
    "blanks around the coding": framed(
        b"Transfer-Encoding: \tchunked ", body=chunk() + LAST
    ),
    "a folded coding": framed(b"Transfer-Encoding:\r\n chunked", body=chunk() + LAST),
    "a name like a coding": post(BODY, b"Transfer_Encoding: chunked"),
    "chunks of a GET": get(CHUNKED) + chunk() + LAST,
    "capitals in a size": chunked(chunk().replace(SIZE, SIZE.upper(), 1) + LAST),
    "a size with zeros before it": chunked(b"0000" + chunk() + LAST),
    "a size with a blank": chunked(chunk(BODY, b" \t") + LAST),
    "an extension": chunked(chunk(BODY, b";a=b") + LAST),
    "an extension in quotes": chunked(chunk(BODY, b';a="b;c"') + LAST),
    "several zeros at the end": chunked(chunk() + b"000\r\n\r\n"),
    "a trailer": chunked(chunk() + b"0\r\nX: y\r\n\r\n"),
    "a length in a trailer": chunked(chunk() + b"0\r\nContent-Length: 3\r\n\r\n"),
    "a host in a trailer": chunked(chunk() + b"0\r\nHost: y\r\n\r\n"),
}
CONNECTIONS = {
    "keep-alive": get(b"Connection: keep-alive"),
    "a connection of any kind": get(b"Connection: x-own, keep-alive"),
    "an offer of HTTP/2": get(b"Connection: Upgrade", b"Upgrade: h2c"),
    "an offer of HTTP/2 with a body": post(
        BODY, b"Connection: Upgrade", b"Upgrade: h2c"
    ),
    "a web socket": get(
        *(b"Connection: Upgrade", b"Upgrade: websocket"),
        *(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="),
    ),
    "an expectation that nobody knows": post(BODY, b"Expect: 200-maybe"),
}
KINDS = {
    f"media type {kind.decode()}": post(kind=b"Content-Type: " + kind)
    for kind in (
        *(b"Application/JSON", b"application/ld+json", b"application/problem+json"),
        *(b"application/json;", b"application/json;odata=verbose"),
        *(b"application/json; charset=utf-8", b'application/json; charset="UTF-8"'),
        *(b"application/json;charset=utf8", b"application/json; charset=us-ascii"),
    )
}
TEXTS = {
    "blanks around": b' \n\t{"text" : "Oil"}\r\n ',
    "the mark of PowerShell": b'\xef\xbb\xbf{"text":"Oil"}',
    "escapes": rb'{"\u0074ext":"\u004fil\n\"\\\/"}',
    "a pair of surrogates": rb'{"text":"Oil \ud83d\ude00"}',
    "a zero in a text": rb'{"text":"Oil\u0000"}',
    "Arabic": '{"text":"سعر النفط"}'.encode(),
    "Chinese": '{"text":"石油"}'.encode(),
    "Hindi": '{"text":"तेल"}'.encode(),
    "only digits": b'{"text":"42"}',
    "HTML": b'{"text":"<script>alert(1)</script>"}',
    "a format": b'{"text":"%s%n {0} ${x}"}',
    "the longest text": json.dumps({"text": "x" * MAX_CHARACTERS}).encode(),
    "the longest text of long characters": json.dumps(
        {"text": "石" * MAX_CHARACTERS}, ensure_ascii=False
    ).encode(),
    "the largest body": BODY.ljust(MAX_BODY_BYTES),
}
ANSWERED = {
    **{**LINES, **FIELDS, **LENGTHS, **CHUNKS, **CONNECTIONS, **KINDS},
    **{name: post(body) for name, body in TEXTS.items()},
    "the largest batch": batch({"texts": ["Oil"] * MAX_TEXTS}),
}
LAST_ANSWERED = {
    "close": get(CLOSE),
    "close in capitals": get(b"Connection: CLOSE"),
    "close in a list": get(b"Connection: keep-alive, close"),
    "close in a second field": get(b"Connection: keep-alive", CLOSE),
    "HTTP/1.0": get(line=b"GET /healthz HTTP/1.0"),
    "HTTP/1.0 without a host": get(line=b"GET /healthz HTTP/1.0", host=b""),
    "HTTP/1.0 that would stay": get(
        b"Connection: keep-alive", line=b"GET /healthz HTTP/1.0"
    ),
    # A faulty framing, says RFC 9112 (6.1): answer, and close.
    "HTTP/1.0 in chunks": (chunked(chunk() + LAST)).replace(b"HTTP/1.1", b"HTTP/1.0"),
    # Nobody could say whether a body will come after that answer.
    "a GET that waits": get(b"Expect: 100-continue"),
}

# --- Requests that HTTP itself forbids ----------------------------------------------

FORBIDDEN = {
    # The line.
    "an empty line before it": b"\r\n" + get(),  # RFC 9112 (2.2) would allow this one
    "a blank before it": b" " + get(),
    "the mark of a file before it": b"\xef\xbb\xbf" + get(),
    "two blanks": get(line=b"GET  /healthz HTTP/1.1"),
    "a tab": get(line=b"GET\t/healthz HTTP/1.1"),
    "a blank behind it": get(line=b"GET /healthz HTTP/1.1 "),
    "a blank in the target": get(line=b"GET /health z HTTP/1.1"),
    "no target": get(line=b"GET HTTP/1.1"),
    "no method": get(line=b"/healthz HTTP/1.1"),
    "no version": get(line=b"GET /healthz"),
    "a bracket in the method": get(line=b"GE(T /healthz HTTP/1.1"),
    "small letters in the version": get(line=b"GET /healthz http/1.1"),
    "another protocol's name": get(line=b"GET /healthz ICY/1.1"),
    "a version of one digit": get(line=b"GET /healthz HTTP/1"),
    "a version of two digits": get(line=b"GET /healthz HTTP/1.10"),
    "a version of three parts": get(line=b"GET /healthz HTTP/1.1.1"),
    "HTTP/0.9": get(line=b"GET /healthz HTTP/0.9"),
    "HTTP/7.0": get(line=b"GET /healthz HTTP/7.0"),
    "Latin-1 in the target": get(line=b"GET /caf\xe9 HTTP/1.1"),
    "a zero in the target": get(line=b"GET /\0 HTTP/1.1"),
    "a delete in the target": get(line=b"GET /\x7f HTTP/1.1"),
    "carriage returns alone": get().replace(b"\r\n", b"\r"),
    "a long target": get(line=b"GET /" + b"a" * 20_000 + b" HTTP/1.1"),
    "an endless target": get(line=b"GET /" + b"a" * 200_000 + b" HTTP/1.1"),
    # Other protocols.
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "SMTP": b"EHLO x\r\n\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n\r\n",
    "SOCKS": b"\x05\x01\x00",
    "a proxy's protocol": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + get(),
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "zeros": b"\0" * 1000 + b"\r\n\r\n",
    "UTF-16": get().decode().encode("utf-16"),
    # Fields.
    "a blank in a name": get(b"A B: c"),
    "a blank before a colon": get(b"A : b"),
    "no colon": get(b"nonsense"),
    "no name": get(b": b"),
    "Latin-1 in a name": get(b"\xe9: b"),
    "a bracket in a name": get(b"A(: b"),
    "a zero in a value": get(b"A: b\0c"),
    "a carriage return in a value": get(b"A: b\rc"),
    "a form feed in a value": get(b"A: b\x0cc"),
    "a fold before all fields": get(host=b" Host: x"),
    "no host": get(host=b""),
    "two hosts": get(b"Host: y"),
    "the same host twice": get(b"Host: x"),
    "two names in a host": get(host=b"Host: x, y"),
    "a path in a host": get(host=b"Host: x/y"),
    "a user in a host": get(host=b"Host: me@x"),
    "a user in an absolute target": get(line=b"GET http://me@x/healthz HTTP/1.1"),
    "a command in a host": get(host=b"Host: $(ls)"),
    "a tag in a host": get(host=b"Host: <b>"),
    "a long field": get(b"A: " + b"b" * 20_000),
    "an endless field": get(b"A: " + b"b" * 200_000),
    "20,000 fields": get(*[b"A: bbbbbbbb"] * 20_000),
    "a media type of 65,000 characters": post(
        kind=JSON + b";" * 65_000,
    ),
    # Lengths.
    "a negative length": framed(b"Content-Length: -1"),
    "a length with a sign": framed(b"Content-Length: +%d" % len(BODY)),
    "a length in words": framed(b"Content-Length: ten"),
    "a hexadecimal length": framed(b"Content-Length: 0x1a"),
    "a length with a point": framed(b"Content-Length: 26.0"),
    "a length with a blank in it": framed(b"Content-Length: 2 6"),
    "an empty length": framed(b"Content-Length:"),
    "a length in other digits": framed("Content-Length: ²".encode("latin-1")),
    "a length of 21 digits": framed(b"Content-Length: " + b"1" * 21),
    "two lengths": post(BODY, b"Content-Length: 3"),
    "two lengths in a list": framed(b"Content-Length: 26, 3"),
    # Codings.
    "another coding": framed(b"Transfer-Encoding: gzip", body=chunk() + LAST),
    "another coding first": framed(
        b"Transfer-Encoding: gzip, chunked", body=chunk() + LAST
    ),
    "another coding last": framed(
        b"Transfer-Encoding: chunked, identity", body=chunk() + LAST
    ),
    "no coding": framed(b"Transfer-Encoding: identity", body=chunk() + LAST),
    "an empty coding": framed(b"Transfer-Encoding:", body=chunk() + LAST),
    "a misspelt coding": framed(b"Transfer-Encoding: xchunked", body=chunk() + LAST),
    "a coding in quotes": framed(b'Transfer-Encoding: "chunked"', body=chunk() + LAST),
    "a coding with a parameter": framed(
        b"Transfer-Encoding: chunked;q=1", body=chunk() + LAST
    ),
    "a coding behind a vertical tab": framed(
        b"Transfer-Encoding: \x0bchunked", body=chunk() + LAST
    ),
    "a blank before a coding's colon": framed(
        b"Transfer-Encoding : chunked", body=chunk() + LAST
    ),
    "two codings": chunked(chunk() + LAST, CHUNKED),
    "a coding, then a length": chunked(chunk() + LAST, b"Content-Length: 3"),
    "a length, then a coding": framed(
        b"Content-Length: 3", CHUNKED, body=chunk() + LAST
    ),
    # Chunks.
    "a size that is none": chunked(b"zz\r\n{}\r\n" + LAST),
    "an empty size": chunked(b"\r\n" + BODY + b"\r\n" + LAST),
    "a negative size": chunked(b"-" + chunk() + LAST),
    "a size with a sign": chunked(b"+" + chunk() + LAST),
    "a size with 0x": chunked(b"0x" + chunk() + LAST),
    "a blank before a size": chunked(b" " + chunk() + LAST),
    "a size with an underscore": chunked(b"1_" + chunk() + LAST),
    "a size of 21 digits": chunked(b"0" * 21 + chunk() + LAST),
    "one chunk too many": chunked(
        b"".join(chunk(b"%c" % k) for k in BODY.ljust(MAX_CHUNKS + 1)) + LAST
    ),
    "a chunk that is longer": chunked(b"2\r\n" + BODY + b"\r\n" + LAST),
    "a chunk without its end": chunked(SIZE + b"\r\n" + BODY + LAST),
    "a chunk that ends in a line feed": chunked(SIZE + b"\r\n" + BODY + b"\n" + LAST),
    "a size that ends in a line feed": chunked(SIZE + b"\n" + BODY + b"\r\n" + LAST),
    "a line feed in an extension": chunked(chunk(BODY, b";a\nb") + LAST),
    "a trailer without a colon": chunked(chunk() + b"0\r\nnonsense\r\n\r\n"),
    "a coding in a trailer": chunked(chunk() + b"0\r\nTransfer-Encoding: x\r\n\r\n"),
    "a trailer with a blank": chunked(chunk() + b"0\r\nA : b\r\n\r\n"),
    "chunks of a GET that are none": get(CHUNKED) + b"zz\r\n",
}

# --- Requests that the app refuses ---------------------------------------------------

NOT_JSON = {
    "nothing": b"",
    "half": b'{"text":"Oil',
    "a word": b"Oil",
    "single quotes": b"{'text':'Oil'}",
    "no quotes": b'{text:"Oil"}',
    "a comma at the end": b'{"text":"Oil",}',
    "a comment": b'{"text":"Oil"/**/}',
    "two values": b'{"text":"Oil"}{"text":"Oil"}',
    "a zero behind": b'{"text":"Oil"}\0',
    "a name twice": b'{"text":"Oil","text":"Gas"}',
    "a name twice, escaped": rb'{"text":"Oil","\u0074ext":"Gas"}',
    "NaN": b'{"text":NaN}',
    "infinity": b'{"text":-Infinity}',
    "a zero before a number": b'{"text":01}',
    "a hexadecimal number": b'{"text":0x1}',
    "a number with a plus": b'{"text":+1}',
    "a number of 100,000 digits": b'{"text":%b}' % (b"9" * 100_000),
    "a line break in a string": b'{"text":"Oil\n"}',
    "an unknown escape": rb'{"text":"\x4f"}',
    "half an escape": rb'{"text":"\u00"}',
    "UTF-16 text": '{"text":"Oil"}'.encode("utf-16"),
    "UTF-32 text": '{"text":"Oil"}'.encode("utf-32-le"),
    "Latin-1 text": '{"text":"Öl"}'.encode("latin-1"),
    "UTF-8 that is too long": b'{"text":"\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"text":"\xed\xa0\x80"}',
    "two marks": b'\xef\xbb\xbf\xef\xbb\xbf{"text":"Oil"}',
    "100,000 brackets": b"[" * 100_000,
    "30,000 objects": b'{"text":' * 30_000,
}
INVALID = {
    "a list": b"[]",
    "null": b"null",
    "a string": b'"Oil"',
    "a number": b"1",
    "an empty object": b"{}",
    "no string but null": b'{"text":null}',
    "no string but a number": b'{"text":1}',
    "no string but infinity": b'{"text":1e999}',
    "no string but a list": b'{"text":["Oil"]}',
    "no string but an object": b'{"text":{"text":"Oil"}}',
    "another name": b'{"TEXT":"Oil"}',
    "an unknown field": b'{"text":"Oil","lang":"en"}',
    "15,000 unknown fields": json.dumps(
        {"text": "a"} | {f"field{k}": 1 for k in range(15_000)}
    ).encode(),
    "Python's own names": b'{"text":"Oil","__class__":{}}',
    "an empty text": b'{"text":""}',
    "blanks": rb'{"text":" \n\t\u00a0\u2003"}',
    "signs": b'{"text":"?!"}',
    "invisible characters": rb'{"text":"\u200b\u2060\ufeff\u115f"}',
    "a mark that only combines": rb'{"text":"\u0301"}',
    "a smile": '{"text":"😀"}'.encode(),
    "half a smile": rb'{"text":"Oil \ud83d"}',
    "half a smile in a name": rb'{"text":"Oil","\ud83d":1}',
    "a text that is too long": json.dumps({"text": "x" * 20_001}).encode(),
}
BATCHES = {
    "no texts": {"texts": []},
    "too many texts": {"texts": ["Oil"] * (MAX_TEXTS + 1)},
    "no list": {"texts": "Oil"},
    "no texts but numbers": {"texts": [1]},
    "no texts but lists": {"texts": [["Oil"]]},
    "one empty text": {"texts": ["Oil", ""]},
    "one text in a batch": {"text": "Oil"},
    "80,000 numbers": {"texts": [7] * 80_000},
}
OTHER_KINDS = {
    "no media type": post(kind=b""),
    "an empty media type": post(kind=b"Content-Type:"),
    **{
        f"media type {kind.decode()}": post(kind=b"Content-Type: " + kind)
        for kind in (
            *(b"text/plain", b"application/x-www-form-urlencoded", b"json", b"*/*"),
            *(b"multipart/form-data; boundary=x", b"application/jsonx", b"text/json"),
            *(b"application/json, text/plain", b"application/xml", b"/json"),
            *(b"application/json; charset=latin-1", b"application/json;charset=utf-16"),
        )
    },
    "a media type of 201 characters": post(kind=JSON.ljust(14 + 201, b";")),
    "a body in gzip": post(BODY, b"Content-Encoding: gzip"),
    "a body in Brotli": post(BODY, b"Content-Encoding: br"),
    "a body in two codings": post(BODY, b"Content-Encoding: identity, gzip"),
}
TOO_LARGE = {
    "a length above the limit": framed(b"Content-Length: %d" % (MAX_BODY_BYTES + 1)),
    "a length of 19 digits": framed(b"Content-Length: " + b"9" * 19),
    "a body above the limit": post(b"x" * (MAX_BODY_BYTES + 1)),
    "chunks above the limit": chunked(chunk(b"x" * 65_536) * 5 + LAST),
    "a body above the limit for a GET": get(b"Content-Length: 300000") + b"x" * 300_000,
}
NOWHERE = {
    "no such page": get(line=b"GET /nowhere HTTP/1.1"),
    "a slash too many": get(line=b"GET /healthz/ HTTP/1.1"),
    "two slashes": get(line=b"GET //healthz HTTP/1.1"),
    "a step up": get(line=b"GET /static/../api.py HTTP/1.1"),
    "an escaped step up": get(line=b"GET /static/%2e%2e/api.py HTTP/1.1"),
    "an escaped slash": get(line=b"GET /static/..%2fapi.py HTTP/1.1"),
    "a backslash": get(line=b"GET /static/..\\api.py HTTP/1.1"),
    "an escaped zero": get(line=b"GET /static/page.js%00 HTTP/1.1"),
    "a folder of the root": get(line=b"GET /static//etc/passwd HTTP/1.1"),
    "a long name": get(line=b"GET /static/" + b"a" * 300 + b" HTTP/1.1"),
    "half an escape in a path": get(line=b"GET /% HTTP/1.1"),
    "no UTF-8 in a path": get(line=b"GET /%ff HTTP/1.1"),
    "a fragment": get(line=b"GET /healthz#a HTTP/1.1"),
    "a star": get(line=b"OPTIONS * HTTP/1.1"),
    "a tunnel": get(line=b"CONNECT x:443 HTTP/1.1"),
    "an absolute target without a host": get(line=b"GET http:///healthz HTTP/1.1"),
    "an absolute target of another scheme": get(line=b"GET ftp://x/healthz HTTP/1.1"),
    "a body for nobody": post(path=b"/nowhere"),
}
METHODS = (
    *((b"GET", b"/predict"), (b"HEAD", b"/predict"), (b"PUT", b"/predict")),
    *((b"OPTIONS", b"/predict"), (b"DELETE", b"/healthz"), (b"TRACE", b"/healthz")),
    *((b"get", b"/healthz"), (b"BREW", b"/healthz"), (b"!#$%&'*+-.^_`|~", b"/ui")),
    *((b"POST", b"/static/page.js"), (b"PATCH", b"/metrics")),
)
OTHER_METHODS = {
    f"{(method + b' ' + path).decode()}": get(line=b"%b %b HTTP/1.1" % (method, path))
    for method, path in METHODS
} | {"a POST of a page": post(path=b"/readyz")}

# --- All of them ---------------------------------------------------------------------

VERDICTS: dict[tuple[int, ...], dict[str, bytes]] = {
    (200, 404): ANSWERED,
    (200,): LAST_ANSWERED,
    # A body that is there already needs no 100; sending one is right, too.
    (100, 200, 404): {"a body that waits": post(BODY, b"Expect: 100-continue")},
    (200, 200, 200, 404): {"three at once": get() * 3},
    (200, 422, 200, 404): {"a wrong one between": post() + post(b"{}") + post()},
    (200, 400): {"nonsense behind it": post() + b"nonsense\r\n\r\n"},
    # RFC 9112 (6.3): without length and coding there is no body, so this is a request.
    (400, 400): {
        "no length": framed(),
        "a length that is too short": framed(b"Content-Length: 5"),
    },
    (400,): FORBIDDEN,
    (400, 404): {f"no JSON: {name}": post(body) for name, body in NOT_JSON.items()},
    (413,): TOO_LARGE,
    (415, 404): OTHER_KINDS,
    (422, 404): {
        **{f"another shape: {name}": post(body) for name, body in INVALID.items()},
        **{name: batch(body) for name, body in BATCHES.items()},
    },
    (404, 404): NOWHERE,
    (405, 404): OTHER_METHODS,
    (307, 404): {
        "the front door": get(line=b"GET / HTTP/1.1"),
        "an absolute target without a path": get(line=b"GET http://x HTTP/1.1"),
    },
}
REQUESTS = {
    name: (request, verdict)
    for verdict, requests in VERDICTS.items()
    for name, request in requests.items()
}
# What stops in the middle: its parts, and the answers until the server closes.
UNFINISHED: dict[str, tuple[tuple[bytes, ...], tuple[int, ...]]] = {
    "silence": ((b"",), ()),
    "half a line": ((b"POST /pre",), ()),
    "half the headers": ((get()[:-2],), ()),
    "a byte at a time": (tuple(b"%c" % k for k in get()[:8]), ()),
    "a field that never ends": ((get(b"A: ")[:-4], *[b"a" * 60_000] * 2), (400,)),
    "half a body": ((framed(b"Content-Length: 100"),), (408,)),
    "half a chunk": ((chunked(b"ff\r\n{"),), (408,)),
    "half a size": ((chunked(b"1"),), (408,)),
    "a chunk of 2^64 bytes": ((chunked(b"f" * 16 + b"\r\n{"),), (408,)),
    "no last chunk": ((chunked(chunk()),), (408,)),
    "half a trailer": ((chunked(chunk() + b"0\r\nX: "),), (408,)),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served, None, None]:
    limits = {"headers_timeout_s": LIMIT_S, "body_timeout_s": LIMIT_S}
    server = Served(tmp_path_factory.mktemp("served"), **limits)
    yield server
    server.program.kill_everything()


def statuses(heard: bytes) -> tuple[int, ...]:
    return tuple(int(part[:3]) for part in heard.split(b"HTTP/1.1 ")[1:])


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_gets_its_verdict(served: Served, name: str) -> None:
    request, verdict = REQUESTS[name]
    assert statuses(served.exchange(request + AFTER)) == verdict
    assert served.predict().status_code == 200  # whatever it was, the server goes on


@pytest.mark.parametrize(
    ("target", "host"), [(b"http://me.example/docs", b"me.example"), (b"/docs", b"x")]
)
def test_the_host_of_an_absolute_target_counts_and_not_the_field(
    served: Served, target: bytes, host: bytes
) -> None:
    heard = served.exchange(get(CLOSE, line=b"GET %b HTTP/1.1" % target))
    assert b" http://%b/predict" % host in heard


@pytest.mark.parametrize("name", UNFINISHED)
def test_a_request_that_stops_is_ended_by_the_clock(served: Served, name: str) -> None:
    parts, verdict = UNFINISHED[name]
    began_s = time.monotonic()
    heard = served.exchange(*parts, pause_s=0.3 if len(parts) > 1 else 0)
    assert time.monotonic() - began_s < LIMIT_S + 3
    assert statuses(heard) == verdict
    assert served.predict().status_code == 200


def test_no_request_was_left_out() -> None:
    """Two of one name would be one."""
    assert len(REQUESTS) == sum(map(len, VERDICTS.values()))
    assert len(REQUESTS) + len(UNFINISHED) == NUM_REQUESTS


def test_none_of_them_is_an_error_of_ours(served: Served) -> None:
    """Last: what clients send must not fill the log with errors."""
    lines = [json.loads(line) for line in served.program.err.splitlines()]
    assert [line for line in lines if line["level"] == "error"] == []
    assert any(line.get("status") == 200 for line in lines)  # the control
