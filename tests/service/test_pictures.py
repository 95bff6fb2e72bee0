"""Pictures: the bank keeps small copies of uploaded images, and shows no image of another server."""

import io
import random
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from neobank.players import pictures
from tests.service.support import Join, LoggedIn

TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
RED = (200, 30, 30)


def image(kind: str, size: tuple[int, int] = (40, 20), mode: str = "RGB", **options: object) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, RED if mode == "RGB" else None).save(content, kind, **options)
    return content.getvalue()


def upload(by: LoggedIn, content: bytes, content_type: str = "image/png") -> TestResponse:
    path = "/api/v1/account/picture"
    return by.client.put(path, data=content, content_type=content_type, headers=by.headers)


def shown(client: FlaskClient, path: object) -> Image.Image:
    answer = client.get(str(path))
    assert (answer.status_code, answer.content_type) == (200, "image/webp")
    return Image.open(io.BytesIO(answer.data), formats=["WEBP"])


@pytest.mark.parametrize("kind", TYPES)
def test_an_uploaded_image_is_shown_to_everyone(player: Join, kind: str) -> None:
    neo = player("Neo")
    uploaded = upload(neo, image(kind), TYPES[kind])
    assert uploaded.status_code == 200, uploaded.text
    path = uploaded.get_json()["account"]["profile_picture"]
    assert neo.account()["profile_picture"] == path
    found = shown(neo.client, path)
    assert found.size == (40, 20)
    pixel = found.convert("RGB").getpixel((20, 10))
    assert isinstance(pixel, tuple)
    assert all(abs(is_ - was) < 12 for is_, was in zip(pixel, RED, strict=True)), pixel
    headers = neo.client.get(path).headers
    assert "immutable" in headers["Cache-Control"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_of_any_mode_is_accepted(player: Join, mode: str) -> None:
    neo = player("Neo")
    assert upload(neo, image("PNG", mode=mode)).status_code == 200
    assert upload(neo, image("PNG", (300, 300), mode)).status_code == 200


@pytest.mark.parametrize(("size", "smaller"), [((1000, 500), (256, 128)), ((3, 2000), (1, 256)), ((256, 1), (256, 1))])
def test_the_stored_image_is_small(player: Join, size: tuple[int, int], smaller: tuple[int, int]) -> None:
    neo = player("Neo")
    path = upload(neo, image("JPEG", size), "image/jpeg").get_json()["account"]["profile_picture"]
    assert shown(neo.client, path).size == smaller


def test_the_first_image_of_a_jpeg_with_several_is_stored(player: Join) -> None:
    neo = player("Neo")
    uploaded = upload(neo, animated("MPO"), "image/jpeg")
    assert uploaded.status_code == 200, uploaded.text
    assert shown(neo.client, uploaded.get_json()["account"]["profile_picture"]).size == (9, 9)


def test_a_noisy_image_is_stored(player: Join) -> None:
    noise = Image.frombytes("RGB", (400, 400), random.Random(1).randbytes(400 * 400 * 3))  # noqa: S311
    content = io.BytesIO()
    noise.save(content, "JPEG", quality=90)
    assert upload(player("Neo"), content.getvalue(), "image/jpeg").status_code == 200


def test_the_stored_image_is_upright_and_has_no_metadata(player: Join) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif[0x010E] = "at the old mill"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # latitude
    neo = player("Neo")
    content = image("JPEG", (40, 20), exif=exif, comment=b"at the old mill")
    assert b"at the old mill" in content
    path = upload(neo, content, "image/jpeg").get_json()["account"]["profile_picture"]
    found = shown(neo.client, path)
    assert found.size == (20, 40)
    assert not found.getexif()
    assert not {"exif", "icc_profile", "xmp"} & found.info.keys()
    assert b"at the old mill" not in neo.client.get(path).data


def animated(kind: str) -> bytes:
    content = io.BytesIO()
    frames = [Image.new("RGB", (9, 9), (shade, 0, 0)) for shade in (0, 99, 199)]
    frames[0].save(content, kind, save_all=True, append_images=frames[1:], duration=100)
    return content.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(*chunks: bytes) -> bytes:
    """Return a PNG with more chunks after its header."""
    content = image("PNG")
    end = content.index(b"IDAT") - 4
    return content[:end] + b"".join(chunks) + content[end:]


def long_texts() -> bytes:
    """Return a small PNG with 63 compressed texts of a mebibyte of characters each."""
    text = zlib.compress(("\U0001f600" + "a" * (2**20 - 9)).encode(), 9)
    return with_chunks(*[chunk(b"iTXt", b"k%d\0\1\0\0\0" % number + text) for number in range(63)])


def invalid_fields() -> bytes:
    """Return a PNG whose EXIF data have 300 fields that are longer than the data."""
    fields = [struct.pack("<HHII", 0x010E + number, 2, 10**6, 10**6) for number in range(300)]
    tiff = b"II*\0" + struct.pack("<IH", 8, len(fields)) + b"".join(fields) + bytes(4)
    return with_chunks(chunk(b"eXIf", tiff))


def many_scans(number: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    content = image("JPEG", (1400, 1400), "L", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + scan * number + content[-2:]


def bomb(side: int) -> bytes:
    """Return a small PNG of side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min((side // 8 + 2) * side, 50_000_000)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


REFUSED = {
    "empty": b"",
    "text": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "gif": image("GIF"),
    "bmp": image("BMP"),
    "tiff": image("TIFF"),
    "ico": image("ICO", (32, 32)),
    "animated png": animated("PNG"),
    "animated webp": animated("WEBP"),
    "truncated": image("PNG", (200, 200))[:-30],
    "bomb": bomb(20_000),
    "larger bomb": bomb(2**31 - 8),
    "long texts": long_texts(),
    "many scans": many_scans(10_000),
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_another_file_is_refused(player: Join, content: bytes) -> None:
    neo = player("Neo")
    refused = upload(neo, content)
    assert refused.status_code == 400, refused.text
    assert neo.account()["profile_picture"] is None


# The kernel's maximum for a program starts anew with it; that of getrusage starts with its parent's.
GROWTH = """
import sys
from pathlib import Path
from neobank.players import pictures

def most():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

content, before = sys.stdin.buffer.read(), most()
try:
    pictures.encode(content)
except pictures.InvalidImage:
    pass
print(most() - before)
"""
LARGEST = (2000, 1000)


@pytest.mark.parametrize(
    ("content", "megabytes"),
    [
        (image("WEBP", LARGEST, "RGBA"), 60),
        (image("PNG", LARGEST, "RGBA"), 60),
        (image("JPEG", LARGEST), 30),
        (REFUSED["bomb"], 15),
        (REFUSED["larger bomb"], 15),
        (REFUSED["long texts"], 15),
        (invalid_fields(), 15),
    ],
    ids=["webp", "png", "jpeg", "bomb", "larger bomb", "long texts", "invalid fields"],
)
def test_an_upload_is_decoded_in_bounded_memory_and_without_warnings(content: bytes, megabytes: int) -> None:
    ended = subprocess.run([sys.executable, "-c", GROWTH], input=content, capture_output=True, check=True)
    assert int(ended.stdout) < megabytes * 1024
    assert ended.stderr == b""


def test_a_damaged_file_never_causes_an_internal_error() -> None:
    chance = random.Random(7)  # noqa: S311
    for kind in TYPES:
        whole = image(kind, (64, 64))
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(chance.randint(1, 8)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            try:
                pictures.encode(bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])]))
            except pictures.InvalidImage:
                continue


def test_only_images_of_a_limited_size_are_accepted(player: Join) -> None:
    neo = player("Neo")
    assert upload(neo, image("PNG"), "application/json").status_code == 415
    assert upload(neo, image("PNG"), "image/svg+xml").status_code == 415
    assert upload(neo, image("PNG") + bytes(pictures.MAX_UPLOAD)).status_code == 413
    assert upload(neo, image("PNG", (2000, 1001))).status_code == 400
    assert upload(neo, image("PNG", (2000, 1000))).status_code == 200


def test_an_upload_waits_for_another_one_of_the_process(player: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    neo = player("Neo")
    decoding, released = threading.Event(), threading.Event()
    encode = pictures._encode

    def slow(content: bytes) -> bytes:
        decoding.set()
        assert released.wait(60)
        return encode(content)

    monkeypatch.setattr(pictures, "_WAIT", 0.05)
    monkeypatch.setattr(pictures, "_encode", slow)
    first = threading.Thread(target=pictures.encode, args=[image("PNG")])
    first.start()
    assert decoding.wait(60)
    refused = upload(neo, image("PNG"))
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    released.set()
    first.join()
    assert upload(neo, image("PNG")).status_code == 200


def test_a_picture_is_replaced_by_another_one_an_emoji_or_none(player: Join, engine: Engine) -> None:
    neo, smith = player("Neo"), player("Smith")
    path = upload(smith, image("PNG")).get_json()["account"]["profile_picture"]
    old = upload(neo, image("PNG")).get_json()["account"]["profile_picture"]
    new = upload(neo, image("PNG")).get_json()["account"]["profile_picture"]
    assert neo.client.get(old).status_code == 404
    assert shown(neo.client, new).size == (40, 20)
    assert neo.send("PUT", "/account/profile", profile_picture=new, faction="Runners").status_code == 200
    assert neo.account()["profile_picture"] == new
    assert neo.send("PUT", "/account/profile", profile_picture=path).status_code == 400
    assert neo.send("PUT", "/account/profile", profile_picture="\U0001f60e").status_code == 200
    assert neo.client.get(new).status_code == 404
    removed = neo.send("DELETE", "/account/picture")
    assert (removed.status_code, removed.get_json()["account"]["profile_picture"]) == (200, None)
    assert shown(neo.client, path).size == (40, 20)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pictures")).scalar_one() == 1


def test_concurrent_changes_of_a_profile_and_its_picture_do_not_deadlock(player: Join) -> None:
    neo = player("Neo")
    content = image("PNG")

    def change(turn: int) -> TestResponse:
        if turn % 3 == 0:
            return upload(neo, content)
        if turn % 3 == 1:
            return neo.send("DELETE", "/account/picture")
        return neo.send("PUT", "/account/profile", faction="Runners", profile_picture="\U0001f60e")

    with ThreadPoolExecutor(9) as pool:
        refused = {answer.text for answer in pool.map(change, range(90)) if answer.status_code != 200}
    assert all("pictures are being uploaded" in text for text in refused), refused
    assert upload(neo, content).status_code == 200


def test_an_older_url_stays_in_responses_until_it_is_replaced(player: Join, owner: Engine) -> None:
    neo, smith = player("Neo"), player("Smith")
    url = "https://pictures.example/neo.png"
    with owner.begin() as connection:
        connection.execute(
            text("UPDATE players SET profile_picture = :url FROM accounts WHERE account_id = id AND number = :number"),
            {"url": url, "number": neo.number},
        )
    assert neo.account()["profile_picture"] == url
    assert neo.send("PUT", "/account/profile", profile_picture=url).status_code == 200
    refused = smith.send("PUT", "/account/profile", profile_picture=url)
    assert (refused.status_code, "/api/v1/account/picture" in refused.get_json()["error"]) == (400, True)
    assert smith.send("GET", "/players/lookup", name="Neo").get_json()["profile_picture"] == url
    assert upload(neo, image("PNG")).status_code == 200
    assert neo.send("PUT", "/account/profile", profile_picture=url).status_code == 400
