"""Recordings of noise, and the lines that Lhotse and others describe recordings in."""

import gzip
import json

import numpy as np


def noise(seconds, rate_hz=16_000, seed=0):
    return np.random.default_rng(seed).integers(-3000, 3000, round(seconds * rate_hz), np.int16)


def lines(path, objects, compress=False):
    content = "".join(json.dumps(o) + "\n" for o in objects).encode()
    path.write_bytes(gzip.compress(content) if compress else content)
    return path


def recording(name, path, seconds=2.0, **changes):
    """A recording as `lhotse.Recording.to_dict` writes it."""
    part = {"type": "file", "channels": [0], "source": str(path)}
    return {
        "id": name, "sources": [part], "sampling_rate": 16_000, "num_samples": round(16_000 * seconds),
        "duration": seconds, "channel_ids": [0], **changes,
    }  # fmt: skip


def supervision(name, of, start=0.0, duration=2.0, **changes):
    fields = {"id": name, "recording_id": of, "start": start, "duration": duration, "channel": 0}
    return {**fields, "text": "Good morning.", "language": "English", "speaker": "s1", **changes}
