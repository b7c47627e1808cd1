"""Checks that a recording's file is whole: the lengths, checksums and end marks that its container holds.

Decoders pass over much of this in silence. Sources:

* RFC 3533 (Ogg), RFC 8794 and RFC 9559 (WebM, Matroska), RFC 9639 (FLAC), ISO/IEC 14496-12 (MP4);
* ISO/IEC 13818-1 (TS), and the usual descriptions of RIFF, AIFF, CAF, AU and SPHERE.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from mmap import mmap
from typing import Literal, TypeAlias

from mdasr.corpus.mpeg_frames import MpegPart, mpeg_parts

Content: TypeAlias = bytes | mmap

_STREAMED = 0x7FFF0000  # a header written before the length was known says this many bytes or more
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # each byte with its bits in reverse order

_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FACTS = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

# The rates that a frame of FLAC may state, by their codes.
_FLAC_HZ = dict(enumerate((88_200, 176_400, 192_000, 8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000), 1))

_SEGMENT, _CLUSTER, _CRC = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\xbf"
_MASTERS = (_CLUSTER, *map(bytes.fromhex, ("114d9b74", "1549a966", "1654ae6b", "1c53bb6b", "1254c367", "1043a770")))
_ELEMENTS = {_SEGMENT, _CRC, *_MASTERS}
_ELEMENTS |= {*map(bytes.fromhex, ("1a45dfa3", "1941a469", "ec", "e7", "5854", "a7", "ab", "a3", "a0", "af"))}


@dataclass(frozen=True)
class Facts:
    """The statements of a file about itself, as far as a reader needs them.

    `samples` is the stated length of one channel. `open_ended` says that the container leaves its length open. `mended`
    then holds a place in its header, and the bytes there with which libsndfile reads the file to its end. `md5` is the
    digest that FLAC holds of all samples, which have `bits`. `ogg` holds the byte ranges of joined Ogg streams, and
    `mpeg` the joined MP3 files.
    """

    samples: int | None = None
    open_ended: bool = False
    mended: tuple[int, bytes] | None = None
    md5: bytes = b""
    bits: int = 16
    ogg: tuple[tuple[int, int], ...] = ()
    mpeg: tuple[MpegPart, ...] = ()


def facts(content: Content, name: str) -> Facts:
    """Check a file by its own account. Raises ValueError, which calls it `name`, where it is cut short or damaged.

    A file of an unknown kind has no facts. Decoders notice the rest.
    """
    start = content[:12]
    if start[:4] == b"OggS":
        return Facts(ogg=_ogg_streams(content, name))
    if start[:4] == b"\x1a\x45\xdf\xa3":
        _check_ebml(content, name)
    elif start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        _check_boxes(content, name)
    elif start[:4] == b"caff" or start[8:] in (b"WAVE", b"AIFF", b"AIFC"):
        return _chunk_facts(content, name)
    elif start[:4] == b"RIFF":
        size = int.from_bytes(start[4:8], "little")
        _check_room(name, len(content) - 8, 0 if size >= _STREAMED else size)
    elif start[:4] == b".snd":
        body, size = int.from_bytes(content[4:8]), int.from_bytes(content[8:12])
        if size >= _STREAMED or (not size and body < len(content)):
            return Facts(open_ended=True, mended=(8, b"\xff" * 4))
        _check_room(name, len(content) - body, size)
        _check_rest(content, body + size, name)
    elif start == _ASF[:12]:
        at = content.find(_ASF_FACTS, 0, 1 << 16)
        if at > 0 and not content[at + 88] & 1:  # that bit is set while the file is being written
            _check_room(name, len(content), int.from_bytes(content[at + 40 : at + 48], "little"))
    elif start[:1] == content[188:189] == content[376:377] == b"G":
        _check_packets(content, name)
    elif start[:7] == b"NIST_1A":
        return Facts(samples=_sphere_samples(content, name))
    elif start[:4] == b"fLaC" and len(content) >= 42:
        return _flac_facts(content, name)
    elif parts := mpeg_parts(content, name):
        layer_3 = all(part.header[1] >> 1 & 3 == 1 for part in parts)
        return Facts(mpeg=parts) if layer_3 else Facts(sum(part.samples for part in parts))
    return Facts()


def cut_short(name: str, found: str, stated: str) -> ValueError:
    return ValueError(f"{name}: truncated: {found} of {stated}; copy or download it again, or export it anew")


def _check_room(name: str, found: int, stated: int) -> None:
    if found < stated:
        raise cut_short(name, f"{max(found, 0):,} bytes", f"{stated:,}")


def _check_rest(content: Content, at: int, name: str) -> None:
    """Check that no bytes but zeros lie after the samples that a header states: there may be more samples."""
    if any(content[at:]):
        raise ValueError(
            f"{name}: damaged: {len(content) - at:,} bytes lie after the samples that its header states; copy it "
            "again, or write its header anew"
        )


def _damaged(name: str, why: str) -> ValueError:
    return ValueError(f"{name}: damaged: {why}; copy or download it again")


def _ogg_streams(content: Content, name: str) -> tuple[tuple[int, int], ...]:
    """Check every page (checksum, number, end mark). Return the ranges of the streams that lie one after the other."""
    at, starts, pages, alive, opening = 0, [0], dict[bytes, int](), set[bytes](), True
    while content[at : at + 4] == b"OggS":
        head = content[at : at + 27]
        lacing = content[at + 27 : at + 27 + head[26]] if len(head) == 27 else b""
        end = at + 27 + len(lacing) + sum(lacing)
        if len(head) < 27 or len(lacing) < head[26] or end > len(content):
            raise cut_short(name, f"{len(content):,} bytes", "a last page that is longer")
        page = head[:22] + bytes(4) + content[at + 26 : end]
        if _ogg_checksum(page) != int.from_bytes(head[22:26], "little"):
            raise _damaged(name, f"the Ogg page at byte {at:,} does not have its checksum")
        serial, number, first = head[14:18], int.from_bytes(head[18:22], "little"), bool(head[5] & 2)
        if first and not opening:
            if alive:
                raise _damaged(name, f"another Ogg stream begins at byte {at:,}, before the end of the one before it")
            starts.append(at)
        if number != pages.get(serial, number - 1) + 1 and not first:
            raise _damaged(name, f"Ogg pages before byte {at:,} are missing")
        opening, pages[serial] = first, number
        (alive.discard if head[5] & 4 else alive.add)(serial)
        at = end
    if alive:
        raise ValueError(f"{name}: truncated (its last page is missing); copy or download it again")
    if content.find(b"OggS", at) >= 0:
        raise _damaged(name, f"what lies at byte {at:,} is not an Ogg page")
    return tuple(zip(starts, [*starts[1:], at]))


def _ogg_checksum(page: bytes) -> int:
    """Ogg's CRC is zlib's with all bits in reverse order, and without its inversions."""
    reverse = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reverse.to_bytes(4, "little").translate(_REVERSED))


def _flac_facts(content: Content, name: str) -> Facts:
    rate_hz, samples = int.from_bytes(content[18:21]) >> 4, int.from_bytes(content[18:26]) & (1 << 36) - 1
    bits = (int.from_bytes(content[20:22]) >> 4 & 31) + 1
    md5 = content[26:42] if any(content[26:42]) and bits <= 24 else b""  # float32 holds no more bits
    at, last = 4, False
    while not last and at < len(content):
        last = content[at] >= 128
        at += 4 + int.from_bytes(content[at + 1 : at + 4])
    in_frame_hz = _FLAC_HZ.get(content[at + 2] & 15, rate_hz) if at + 2 < len(content) else rate_hz
    if in_frame_hz != rate_hz:
        raise _damaged(name, f"its header states {rate_hz} Hz, but its first frame {in_frame_hz} Hz")
    return Facts(samples=samples or None, open_ended=not samples, md5=md5, bits=bits)


def _check_ebml(content: Content, name: str) -> None:
    """Check that the elements of a WebM or Matroska file follow each other to its end, and their checksums."""
    at = 0
    while at < len(content):
        ident, size, body = _element(content, at, name)
        if ident not in _ELEMENTS:
            raise _damaged(name, f"what lies at byte {at:,} is not an element of WebM or Matroska")
        if size is not None:
            _check_room(name, len(content) - body, size)
            sealed = ident in _MASTERS and content[body : body + 2] == _CRC + b"\x84"
            stated = int.from_bytes(content[body + 2 : body + 6], "little")
            if sealed and zlib.crc32(content[body + 6 : body + size]) != stated:
                raise _damaged(name, f"the element at byte {at:,} does not have its checksum")
        elif ident not in (_SEGMENT, _CLUSTER):
            raise _damaged(name, f"the element at byte {at:,} has no length")
        at = body if ident in (_SEGMENT, _CLUSTER) else body + (size or 0)


def _element(content: Content, at: int, name: str) -> tuple[bytes, int | None, int]:
    """Return the identifier of the element at a place, the size of its body (None: unknown), and the body's place."""
    head = content[at : at + 12]
    long = 9 - head[0].bit_length()
    wide = 9 - head[long].bit_length() if long < len(head) else 9
    if not (long <= 4 and wide <= 8 and long + wide <= len(head)):
        if len(content) - at < 12:
            raise cut_short(name, f"{len(content):,} bytes", "a last element that is longer")
        raise _damaged(name, f"what lies at byte {at:,} is not an element of WebM or Matroska")
    size = int.from_bytes(head[long : long + wide]) & (1 << 7 * wide) - 1
    return head[:long], None if size == (1 << 7 * wide) - 1 else size, at + long + wide


def _check_boxes(content: Content, name: str) -> None:
    """Check that the boxes of an MP4 (M4A, MOV) fill the file, and that its index is there."""
    at, kinds = 0, set()
    while at < len(content):
        head = content[at : at + 16]
        size = int.from_bytes(head[:4])
        size = {0: len(content) - at, 1: int.from_bytes(head[8:16])}.get(size, size)
        kind = head[4:8]
        if len(head) >= 8 and (size < 8 or not kind.strip().isalnum()):
            raise _damaged(name, f"what lies at byte {at:,} is not a box of MP4")
        _check_room(name, len(content) - at, max(size, 8))
        kinds.add(kind)
        at += size
    if b"moov" not in kinds:
        raise ValueError(f"{name}: its index (moov) is missing; the recording was not finished, or the file is cut")


def _chunk_facts(content: Content, name: str) -> Facts:
    """Check the chunk of samples of a WAV, AIFF or CAF."""
    caf, order = content[:4] == b"caff", _order(content)
    at, width = (8, 8) if caf else (12, 4)
    while len(head := content[at : at + 4 + width]) == 4 + width:
        size, body = int.from_bytes(head[4:], order), at + 4 + width
        if head[:4] in (b"data", b"SSND"):
            if content[:4] == b"RF64":
                size = int.from_bytes(content[28:36], order)
            whole = int.from_bytes(content[4:8], order) == len(content) - 8  # a file of no samples is whole, too
            if size >= (1 << 63 if caf else _STREAMED) or (not size and body < len(content) and not whole):
                room = (len(content) - body).to_bytes(8) if caf else b"\xff" * 4
                return Facts(open_ended=True, mended=(at + 4, room))
            _check_room(name, len(content) - body, size)
            _check_rest(content, _after_chunks(content, body + size, width, order), name)
            return Facts()
        at = body + size + (0 if caf else size % 2)
    raise ValueError(f"{name}: truncated: its samples (chunk data or SSND) are missing; copy or download it again")


def _after_chunks(content: Content, at: int, width: int, order: Literal["little", "big"]) -> int:
    """The place after the chunks that lie from a place on."""
    at += at % 2 if width == 4 else 0
    while (kind := content[at : at + 4]).isascii() and kind.decode().isprintable() and at + 4 + width <= len(content):
        end = at + 4 + width + int.from_bytes(content[at + 4 : at + 4 + width], order)
        if end > len(content):
            break
        at = end + (end % 2 if width == 4 else 0)
    return at


def _order(content: Content) -> Literal["little", "big"]:
    return "little" if content[:1] == b"R" else "big"


def _sphere_samples(content: Content, name: str) -> int | None:
    """Check the length of a SPHERE file that is not compressed. Return the samples of each channel."""
    size = content[8:16].strip()
    head = content[: int(size) if size.isdigit() else 1024]
    fields = {key: value.strip() for key, value in re.findall(rb"^(\w+) -\w+ (.*)$", head, re.MULTILINE)}
    numbers = [fields.get(key, b"") for key in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    if not all(number.isdigit() for number in numbers):
        return None
    samples, channels, width = map(int, numbers)
    if b"," not in fields.get(b"sample_coding", b""):  # what follows a comma names the compression
        _check_room(name, len(content) - len(head), samples * channels * width)
        _check_rest(content, len(head) + samples * channels * width, name)
    return samples


def _check_packets(content: Content, name: str) -> None:
    """Check that the packets of a transport stream (TS) are there, in their order, and that the last ones are whole."""
    counters, missing = dict[int, int](), dict[int, int]()  # by stream: number of the last packet, bytes still to come
    for at in range(0, len(content), 188):
        packet = content[at : at + 188]
        if packet[:1] != b"G":
            raise _damaged(name, f"what lies at byte {at:,} is not a packet of TS")
        if len(packet) < 188:
            raise cut_short(name, f"{len(packet)} bytes of its last packet", "188")
        stream, number = int.from_bytes(packet[1:3]) & 0x1FFF, packet[3] & 15
        begin = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        jump = packet[3] & 0x20 and packet[4] and packet[5] & 0x80  # the stream says that its numbers jump here
        if stream == 0x1FFF or not packet[3] & 0x10:
            continue
        if number == counters.get(stream):
            continue  # a packet may come twice
        if not jump and number != (counters.get(stream, number - 1) + 1) % 16:
            raise _damaged(name, f"packets of TS before byte {at:,} are missing")
        counters[stream] = number
        payload = packet[begin:]
        if packet[1] & 0x40 and payload[:3] == b"\0\0\1":
            length = int.from_bytes(payload[4:6])
            missing[stream] = length + 6 - len(payload) if length else 0
        else:
            missing[stream] = missing.get(stream, 0) - len(payload)
    if any(count > 0 for count in missing.values()):
        raise ValueError(f"{name}: truncated: its last packets are not whole; copy or download it again")
