"""What the Python tests of the adapters compute: random problems, and the formula of the contract in plain NumPy at float64 as the truth."""
import json
import pathlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYER = ROOT / "layers" / "triangle_multiplication"
PLUGINS = ROOT / "build" / "plugins"
# Relative Frobenius errors that the contract allows.
_LIMITS = json.loads((LAYER / "contract.json").read_text())["tolerances"]
TOLERANCES, GRADIENT_TOLERANCES = _LIMITS["frobenius"], _LIMITS["gradient"]["frobenius"]
_SAFETENSORS = {"F64": np.float64, "F32": np.float32, "BOOL": np.bool_, "I64": np.int64}


def weights(channels, hidden, seed=1):
    """Parameters by the contract's names, without biases of the linears; float32."""
    generator = np.random.default_rng(seed)
    draw = lambda *shape: (generator.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
    norm = lambda n: (1 + 0.3 * generator.standard_normal(n)).astype(np.float32)
    return {"norm_in_weight": norm(channels), "norm_in_bias": draw(channels), "a_projection_weight": draw(hidden, channels),
            "a_gate_weight": draw(hidden, channels), "b_projection_weight": draw(hidden, channels), "b_gate_weight": draw(hidden, channels),
            "norm_out_weight": norm(hidden), "norm_out_bias": draw(hidden), "out_projection_weight": draw(channels, hidden),
            "out_gate_weight": draw(channels, channels)}


def pair_and_mask(batch, tokens, channels, seed=2):
    generator = np.random.default_rng(seed)
    return (generator.standard_normal((batch, tokens, tokens, channels)).astype(np.float32),
            (generator.random((batch, tokens, tokens)) < 0.8).astype(np.float32))


def formula(np, pair, mask, p, direction, eps=1e-5):
    """The contract's maths in `np`: numpy, or jax.numpy, which differentiates it."""
    sigmoid = lambda v: 1 / (1 + np.exp(-v))

    def norm(v, which):
        v = v - v.mean(-1, keepdims=True)
        return v / np.sqrt((v * v).mean(-1, keepdims=True) + eps) * p[f"norm_{which}_weight"] + p[f"norm_{which}_bias"]
    z = norm(pair, "in")
    m = 1 if mask is None else mask[..., None]
    a, b = ((z @ p[f"{side}_projection_weight"].T) * sigmoid(z @ p[f"{side}_gate_weight"].T) * m for side in "ab")
    o = np.einsum("xikh,xjkh->xijh" if direction == "outgoing" else "xkih,xkjh->xijh", a, b)
    return (norm(o, "out") @ p["out_projection_weight"].T) * sigmoid(z @ p["out_gate_weight"].T)


def truth(pair, mask, parameters, direction, eps=1e-5):
    """float64, whatever the dtype of what is given."""
    wide = lambda value: None if value is None else np.asarray(value, np.float64)
    return formula(np, wide(pair), wide(mask), {name: wide(value) for name, value in parameters.items()}, direction, eps)


def error(found, expected):
    """Relative Frobenius error."""
    found = np.asarray(found, np.float64)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def goldens():
    """(host, class, parameters, forward arguments, output) of every real host module that was run once: layers/*/golden."""
    for path in sorted((LAYER / "golden").glob("*.safetensors")):
        data = path.read_bytes()
        begin = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:begin])
        facts = header.pop("__metadata__")
        tensors = {name: np.frombuffer(data[begin:][slice(*row["data_offsets"])], _SAFETENSORS[row["dtype"]]).reshape(row["shape"])
                   for name, row in header.items()}
        below = lambda word: {name[len(word) + 1:]: tensor for name, tensor in tensors.items() if name.startswith(word)}
        yield facts["host"], facts["class"], below("module"), below("forward"), tensors["output"]
