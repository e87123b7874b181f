"""Problems that between them launch every kernel of this layer's CUDA builds, for bench/gpu/profile_static.py."""
import itertools

from address import Address


def launch_problems(plugin):
    """Runs the plug-in on the stand-in driver, in this process, for widths, sizes and switches that between them launch every kernel."""
    weights = {"a_projection_weight": "HC", "b_projection_weight": "HC", "a_gate_weight": "HC", "b_gate_weight": "HC", "norm_out_weight": "H",
               "norm_out_bias": "H", "out_projection_weight": "CH", "out_gate_weight": "GC", "norm_in_weight": "C", "norm_in_bias": "C"}
    plain = itertools.product(("bfloat16", "float16", "float32"), ((128, 128), (256, 256), (768, 768)), (24, 65, 127, 128, 256, 320, 640), (False, True),
                              ({"direction": direction, "contraction": contraction} for direction in ("outgoing", "incoming")
                               for contraction in ("activation", "fp32")))
    other_widths = itertools.product(("bfloat16", "float16"), ((64, 64), (64, 128), (384, 256)), (65, 256), (False, True), ({"direction": "outgoing"},))
    narrow = itertools.product(("float32",), ((128, 128), (384, 128)), (65, 256), (False,), ({"compute": "fp16", "output_gate": "before_projection"},))
    for dtype, (c, h), n, extras, attributes in itertools.chain(plain, other_widths, narrow):
        extents = {"C": c, "H": h, "G": h if "compute" in attributes else c}
        given = {name: Address(*(extents[letter] for letter in shape), dtype=dtype) for name, shape in weights.items()}
        packed = Address(0, dtype="uint8")
        packed.shape = (plugin.prepare("pack", given | {"packed": packed}, dtype=dtype, **attributes).need.packed_size,)
        pack = plugin.prepare("pack", given | {"packed": packed}, dtype=dtype, **attributes)
        pack.enqueue()
        cells = lambda *more: Address(1, n, n, *more, dtype=dtype)
        given |= {"packed": packed, "pair": cells(c), "pair_mask": cells(), "out": cells(c)}
        if extras:
            given |= {"residual": cells(c), "dropout_mask": cells(c)}
        call = plugin.prepare("forward", given, **attributes)
        workspace = Address(max(1, call.need.workspace_size), dtype="uint8")
        call.use_workspace(workspace)
        yield {"C": c, "N": n}, call.enqueue
        if c == h and "backward" in plugin.ops and attributes.get("contraction") == "activation" and not extras and n in (24, 65, 128, 256):
            yield {"C": c, "N": n}, backward(plugin, given, weights, attributes)


def backward(plugin, given, weights, attributes):
    """The enqueueing of a backward that wants every gradient of a forward's arguments, every bias among them."""
    like = lambda of: Address(*of.shape, dtype=of.dtype)
    c = given["pair"].shape[-1]
    biases = {name.replace("weight", "bias"): Address(c, dtype=given["pair"].dtype) for name in weights if not name.startswith("norm")}
    inputs = {name: given[name] for name in ("pair", "pair_mask", *weights)}
    gradients = {f"{name}_gradient": like(value) for name, value in (inputs | biases | {"residual": given["pair"]}).items() if name != "pair_mask"}
    call = plugin.prepare("backward", inputs | biases | gradients | {"out_gradient": like(inputs["pair"])}, **attributes)
    workspace = Address(max(1, call.need.workspace_size), dtype="uint8")
    call.use_workspace(workspace)
    return call.enqueue
