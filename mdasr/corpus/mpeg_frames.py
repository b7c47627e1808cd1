"""MP3 and MP2 files, frame by frame: decoders only estimate how long a file without a Xing header is.

Sources: ISO/IEC 11172-3 and 13818-3 (frame headers); the Xing, Info and LAME tags as LAME writes them.
"""

from __future__ import annotations

from functools import lru_cache
from mmap import mmap
from typing import NamedTuple

import numpy as np

# kbps by (lowest rates?, layer) and index; Hz by version and index.
_KBPS = {
    (False, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (False, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (False, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (True, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (True, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (True, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_ENCODERS = (b"LAM", b"Lav")  # LAME and FFmpeg: the tags of both have checksums
_DELAY = 529  # samples of a decoder: those of its filter bank
_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


class MpegPart(NamedTuple):
    """One of the files that lie one after the other in an MP3: the range of its bytes, and its frames of sound.

    `samples` counts those of one channel, with the silence that encoder and decoder add. `stated` says that a Xing tag
    holds the number of frames. `header` is the header of the first frame.
    """

    start: int
    end: int
    frames: int
    samples: int
    stated: bool
    header: bytes


class _Frame(NamedTuple):
    bytes: int
    tag_at: int  # where the frame would hold a Xing tag
    kind: tuple[int, ...]  # version, layer, Hz, mono: what does not change within a file


class _Tag(NamedTuple):
    frames: int
    strict: bool  # LAME and FFmpeg do not count the tag's own frame; others may
    sound_crc: int | None


@lru_cache(maxsize=1000)
def _frame(header: bytes) -> _Frame | None:
    """Read the header of a frame; return None for anything else, and for frames of a free bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, hz, mono = header[2] >> 4, header[2] >> 2 & 3, header[3] >> 6 == 3
    if version == 1 or layer == 4 or rate in (0, 15) or hz == 3:
        return None
    low, padding = version != 3, header[2] >> 1 & 1
    bits, rate_hz = 1000 * _KBPS[low, layer][rate - 1], _HZ[version][hz]
    size = (72 if low and layer == 3 else 144) * bits // rate_hz + padding
    if layer == 1:
        size = 4 * (12 * bits // rate_hz + padding)
    side_info = (9 if mono else 17) if low else (17 if mono else 32)
    return _Frame(size, 4 + side_info, (version, layer, rate_hz, mono))


def mpeg_parts(content: bytes | mmap, name: str) -> tuple[MpegPart, ...]:
    """Find the files that are joined in an MP3 (or MP2); there are none where the content is something else.

    Raises ValueError, which calls the file `name`, where frames are missing, cut off or damaged.
    """
    at, parts = 0, list[MpegPart]()
    while (after := _after_tag(content, at)) > at:
        at = after
    first = _frame(content[at : at + 4])
    if not first or not (content[:3] == b"ID3" or _frame(content[at + first.bytes : at + first.bytes + 4])):
        return ()
    while at < len(content):
        if _frame(content[at : at + 4]):
            parts.append(_part(content, at, name))
            at = parts[-1].end
        elif (after := _after_tag(content, at)) > at:
            at = after
        elif parts[-1].stated:
            break  # all frames are there: the rest is a tag of an unknown kind
        else:
            raise ValueError(
                f"{name}: damaged: the bytes from {at:,} on are not MPEG frames; copy or download it again"
            )
    return tuple(parts)


def _part(content: bytes | mmap, start: int, name: str) -> MpegPart:
    """Read the frames from a place on: as many as a tag states there, or all to the next tag."""
    header = content[start : start + 4]
    first = _frame(header)
    assert first
    kind, tag, at, count = first.kind, _tag(content, start, name), start, 0
    if tag:
        at += first.bytes
    sound_at = at
    while (frame := _frame(content[at : at + 4])) and frame.kind == kind and not (tag and count == tag.frames > 0):
        if at + frame.bytes > len(content):
            found = f"{len(content) - at} bytes of its last frame, which has {frame.bytes}"
            raise ValueError(f"{name}: truncated: {found}; copy or download it again")
        if at > start and content[at + frame.tag_at : at + frame.tag_at + 4] in (b"Xing", b"Info"):
            break
        at, count = at + frame.bytes, count + 1
    if tag and count < tag.frames - (not tag.strict):
        raise ValueError(
            f"{name}: truncated: {count:,} of the {tag.frames:,} MPEG frames that its Xing tag states; copy or "
            "download it again"
        )
    if tag and tag.sound_crc is not None and _crc16(content[sound_at:at]) != tag.sound_crc:
        raise ValueError(f"{name}: damaged: its frames do not have the checksum of its tag; copy or download it again")
    stated = tag is not None and tag.frames == count
    version, layer = kind[:2]
    samples = count * (384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152)
    return MpegPart(start if stated else sound_at, at, count, samples, stated, header)


def _tag(content: bytes | mmap, at: int, name: str) -> _Tag | None:
    """Read the tag in place of a file's first frame: Xing, Info (with LAME's part), or VBRI."""
    frame = _frame(content[at : at + 4])
    assert frame
    held = content[at : at + frame.bytes]
    if held[36:40] == b"VBRI":
        return _Tag(int.from_bytes(held[50:54]), False, None)
    here = frame.tag_at
    if held[here : here + 4] not in (b"Xing", b"Info"):
        if held[here + 120 : here + 123] in _ENCODERS:
            raise ValueError(f"{name}: damaged: its Xing tag lost its name; copy or download it again")
        return None
    flags = int.from_bytes(held[here + 4 : here + 8])
    frames = int.from_bytes(held[here + 8 : here + 12]) if flags & 1 else 0
    by = here + 120
    lame = held[by : by + 36]
    own_crc = int.from_bytes(lame[34:36])
    strict = len(lame) == 36 and lame[:3] in _ENCODERS
    # LAME's checksum ends where it stands, and FFmpeg's after 190 bytes, among which it is still zero.
    as_ffmpeg = (held[: by + 34] + b"\0\0" + held[by + 36 :])[:190].ljust(190, b"\0")
    sealed = own_crc in (_crc16(held[: by + 34]), _crc16(as_ffmpeg))
    # FFmpeg wrote no checksums before 2014. A tag with all of its fields and something in LAME's part has them.
    summed = lame[:3] == b"LAM" or (len(lame) == 36 and (strict or flags & 15 == 15) and any(lame[28:]))
    if summed and not sealed:
        raise ValueError(f"{name}: damaged: its LAME tag does not have its checksum; copy or download it again")
    return _Tag(frames, strict, int.from_bytes(lame[32:34]) if summed and frames else None)


def _after_tag(content: bytes | mmap, at: int) -> int:
    """The place after a tag that is not sound (ID3, APE, Lyrics3), or after zeros at the end."""
    head = content[at : at + 32]
    if head[:3] == b"ID3" and len(head) >= 10:
        size = sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
        return at + 10 + size + 10 * (head[5] >> 4 & 1)
    if head[:3] == b"TAG":
        return at + (227 if head[3:4] == b"+" else 128)
    if head[:8] == b"APETAGEX":
        return at + 32 + int.from_bytes(head[12:16], "little")
    if head[:11] == b"LYRICSBEGIN" and (end := content.find(b"LYRICS200", at)) > 0:
        return end + 9
    return at if any(head) or any(content[at:]) else len(content)


def decodable(content: bytes | mmap, part: MpegPart) -> tuple[bytes, int]:
    """Return one of the joined files so that mpg123 decodes all of it, and the samples to drop from its beginning.

    Without a number of frames, mpg123 estimates the length and stops there. So a tag with their number goes before
    them. With a tag, mpg123 drops the 529 samples of its delay. So a silent frame goes there, too.
    """
    held = content[part.start : part.end]
    if part.stated:
        return held, 0
    header = bytearray(part.header)
    header[1] |= 1  # no checksum
    header[2] = 8 << 4 | header[2] & 0x0C  # a bit rate at which a frame has room for the tag
    frame = _frame(bytes(header))
    assert frame
    tag = b"Info" + (1).to_bytes(4) + (part.frames + 1).to_bytes(4)
    tagged = (bytes(header) + bytes(frame.tag_at - 4) + tag).ljust(frame.bytes, b"\0")
    samples = 1152 if frame.kind[0] == 3 else 576
    return tagged + bytes(header).ljust(frame.bytes, b"\0") + held, samples - _DELAY


def _crc16(content: bytes) -> int:
    """The CRC-16 (polynomial 0x8005, reflected, from 0) of LAME's tags. It runs along many lanes at the same time."""
    lanes = min(4096, max(1, len(content) // 64))
    length = -(-len(content) // lanes)
    # Zeros at the beginning do not change a CRC from 0. The last 16 lanes show what `length` zeros do to each bit.
    padded = np.frombuffer(content.rjust(lanes * length, b"\0"), np.uint8).reshape(lanes, length)
    padded = np.concatenate([padded, np.zeros((16, length), np.uint8)])
    crc = np.concatenate([np.zeros(lanes, np.uint16), np.uint16(1) << np.arange(16, dtype=np.uint16)])
    for column in np.ascontiguousarray(padded.T):
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ column) & 0xFF]
    after, total = crc[lanes:].tolist(), 0
    for lane in crc[:lanes].tolist():
        moved = 0
        for bit in range(16):
            moved ^= after[bit] if total >> bit & 1 else 0
        total = moved ^ lane
    return total


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint16)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ 0xA001, table >> 1).astype(np.uint16)
    return table


_CRC_TABLE = _crc_table()
