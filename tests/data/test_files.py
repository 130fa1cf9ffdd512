import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segalias_jax.data.files import decode_ids, decode_image, image_size, read_bytes, read_image
from segalias_jax.data.headers import claimed_size
from segalias_jax.errors import InputError


def read_label(path):
    return decode_ids(read_bytes(path), path)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_channels_are_red_green_blue(tmp_path, pixels):
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_size_is_read_without_decoding(tmp_path, pixels, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), pixels)
    assert image_size(path) == (20, 30)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("keep", [0, 3, 20, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path, pixels, suffix, keep, capfd):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), pixels)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=rf"a\.{suffix}: .*(truncated|not an image)"):
            read(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "content", [b"", b"this is no image at all, only some text", b"\xff\xd8xx"]
)
@pytest.mark.parametrize("read", [read_image, read_label, image_size])
def test_files_that_are_no_images_are_named(tmp_path, content, read):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.png: "):
        read(path)


@pytest.mark.parametrize(
    ("array", "what"),
    [(np.zeros((4, 4, 3), np.uint8), "3 of 8 bits"), (np.zeros((4, 4), np.uint16), "1 of 16 bits")],
)
def test_labels_need_one_8_bit_channel(tmp_path, array, what):
    cv2.imwrite(str(tmp_path / "l.png"), array)
    with pytest.raises(InputError, match=rf"l\.png: .*{what}"):
        read_label(tmp_path / "l.png")


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(InputError, match=tmp_path.name):
        read_image(tmp_path)


def exif_jpeg(pixels, orientation):
    """A JPEG that says how it is to be turned, as cameras write it."""
    stored = cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + b"\0" * 7
    content = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content
    return stored[:2] + segment + stored[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_images_or_is_left_out(tmp_path, pixels, orientation):
    path = tmp_path / "a.jpg"
    smooth = cv2.GaussianBlur(pixels, (0, 0), 3)
    path.write_bytes(exif_jpeg(smooth, orientation))
    plain = read_stored(cv2.imencode(".jpg", smooth[..., ::-1])[1].tobytes())
    turned = {
        1: plain, 2: plain[:, ::-1], 3: plain[::-1, ::-1], 4: plain[::-1],
        5: plain.swapaxes(0, 1), 6: plain[::-1].swapaxes(0, 1),
        7: plain[::-1, ::-1].swapaxes(0, 1), 8: plain[:, ::-1].swapaxes(0, 1),
    }  # fmt: skip
    np.testing.assert_array_equal(read_image(path), turned[orientation])
    kept = decode_image(path.read_bytes(), path, exif=False)
    np.testing.assert_array_equal(kept, plain)
    assert image_size(path) == turned[orientation].shape[:2]
    assert image_size(path, exif=False) == plain.shape[:2]


def test_jpeg_with_bytes_of_filling_between_its_segments(tmp_path, pixels):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), pixels)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xff" + data[2:])  # as the format allows ahead of any marker
    assert read_image(path).shape == (20, 30, 3)
    assert image_size(path) == (20, 30)


def read_stored(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def test_exif_of_png(tmp_path, pixels):
    path = tmp_path / "a.png"
    tags = Image.Exif()
    tags[0x112] = 6
    Image.fromarray(pixels).save(path, exif=tags)
    np.testing.assert_array_equal(read_image(path), pixels[::-1].swapaxes(0, 1))
    np.testing.assert_array_equal(decode_image(path.read_bytes(), path, exif=False), pixels)
    assert image_size(path) == (30, 20) and image_size(path, exif=False) == (20, 30)


def unusable_images(pixels, folder):
    """Images that decoders accept, but whose colors nobody knows."""
    alpha = np.concatenate([pixels, np.full((20, 30, 1), 255, np.uint8)], -1)
    alpha[3, 4, 3] = 254
    cv2.imwrite(str(folder / "deep.png"), pixels.astype(np.uint16) << 4)
    cv2.imwrite(str(folder / "deep.tif"), pixels.astype(np.uint16) << 4)
    cv2.imwrite(str(folder / "gray.png"), pixels[..., 0].astype(np.uint16) << 4)
    cv2.imwrite(str(folder / "clear.png"), alpha)
    cv2.imwrite(str(folder / "clear.webp"), alpha, [cv2.IMWRITE_WEBP_QUALITY, 101])
    Image.fromarray(pixels).convert("CMYK").save(folder / "ink.jpg")
    index = Image.fromarray(pixels).quantize(4)
    index.save(folder / "palette.png", transparency=0)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deep.png", "has 16 bits a channel; .* save it with 8"),
        ("deep.tif", "has 16 bits a channel"),
        ("gray.png", "has 16 bits a channel"),
        ("clear.png", "has transparent pixels.*; save it without alpha"),
        ("clear.webp", "has transparent pixels"),
        ("palette.png", "has transparent pixels"),
        ("ink.jpg", "is CMYK, .*; save RGB"),
    ],
)
def test_images_of_unknown_colors_are_named(tmp_path, pixels, name, reason):
    unusable_images(pixels, tmp_path)
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=rf"{name}: the image {reason}"):
            read(tmp_path / name)


def test_opaque_alpha_gray_and_palette_images_are_read(tmp_path, pixels):
    opaque = np.concatenate([pixels[..., ::-1], np.full((20, 30, 1), 255, np.uint8)], -1)
    cv2.imwrite(str(tmp_path / "opaque.png"), opaque)
    np.testing.assert_array_equal(read_image(tmp_path / "opaque.png"), pixels)
    cv2.imwrite(str(tmp_path / "gray.png"), pixels[..., 0])
    gray = read_image(tmp_path / "gray.png")
    np.testing.assert_array_equal(gray, np.repeat(pixels[..., :1], 3, -1))
    index = Image.fromarray(pixels).quantize(16)
    index.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), index.convert("RGB"))
    for name in ("opaque", "gray", "palette"):
        assert image_size(tmp_path / f"{name}.png") == (20, 30)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_labels_of_few_bits_and_palettes_keep_their_ids(tmp_path, bits):
    ids = (np.arange(600).reshape(20, 30) % 2**bits).astype(np.uint8)
    image = Image.fromarray(ids)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    image.save(tmp_path / "l.png", bits=bits)
    np.testing.assert_array_equal(read_label(tmp_path / "l.png"), ids)


def test_an_unreadable_file_gives_the_reason_of_the_system(tmp_path, monkeypatch):
    def broken(*args, **keys):
        raise OSError(5, "Input/output error")

    (tmp_path / "a.png").touch()
    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(InputError, match=r"a\.png: cannot be read \(Input/output error\)$"):
        read_image(tmp_path / "a.png")


def chunk(kind, content):
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def bombs(side=40_000):
    """Small files that claim a square of so many pixels a side, by suffix."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * side)) + chunk(b"IEND", b"")
    )
    tags = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    jpeg = b"\xff\xd8" + struct.pack(">HHBHHB", 0xFFC0, 11, 8, side, side, 1) + b"\1\x11\0"
    return {
        "png": b"\x89PNG\r\n\x1a\n" + parts,
        "jpg": jpeg + b"\0" * 64 + b"\xff\xd9",
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, side, side, 1, 24, *[0] * 6),
        "gif": b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b";",
        "tif": b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4,
        "webp": b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + 2 * (side - 1).to_bytes(3, "little"),
        "pgm": f"P5\n# a comment\n{side} {side}\n255\n".encode(),
    }


@pytest.mark.parametrize("suffix", bombs())
@pytest.mark.parametrize("read", [read_image, read_label, image_size])
def test_files_that_claim_more_than_the_memory_are_named_before_any_is_taken(
    tmp_path, suffix, read, monkeypatch
):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(bombs()[suffix])
    monkeypatch.setattr(cv2, "imdecode", None)  # not even called
    with pytest.raises(InputError, match=r"a\.\w+: claims 40000x40000 pixels, more than"):
        read(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
def test_claimed_sizes_are_the_true_ones(pixels, suffix):
    data = cv2.imencode(f".{suffix}", pixels)[1].tobytes()
    assert claimed_size(data) in ((20, 30), None)
    assert suffix == "webp" or claimed_size(data) is not None


def test_pipes_and_devices_are_named_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", Path("/dev/zero")):
        for read in (read_image, read_label, image_size):
            with pytest.raises(InputError, match="is a pipe or a device"):
                read(path)


def test_want_of_memory_is_one_sentence(tmp_path, pixels, monkeypatch):
    cv2.imwrite(str(tmp_path / "a.png"), pixels)

    def without_memory(*_):
        raise MemoryError

    monkeypatch.setattr(cv2, "imdecode", without_memory)
    with pytest.raises(InputError, match="a.png: the image does not fit into the memory"):
        read_image(tmp_path / "a.png")


def test_an_image_beyond_the_limit_of_memory_is_one_sentence(tmp_path):
    """With 150 MB left, where a picture of 15000x7500 takes 340."""
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((7500, 15000), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    script = (
        "import re, resource, sys\n"
        "from pathlib import Path\n"
        "from segalias_jax.data.files import read_image\n"
        "used = int(re.search(r'VmSize:\\s+(\\d+)', open('/proc/self/status').read())[1]) << 10\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (150 << 20),) * 2)\n"
        "try:\n"
        "    read_image(Path(sys.argv[1]))\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert done.stdout == f"{path}: the image does not fit into the memory; make it smaller\n"
    assert done.stderr == "" and done.returncode == 0
