"""transformers' ESMFold2 folding trunk on one GPU, as it is and with the bundle's kernel in it: output, time and memory of a block.

    python3 bench/gpu/esmfold2.py --bundle DIR [--hub-triton DIR] [--out FILE.json]

DIR is what `lamina pack` wrote, with a variant for this machine.  The trunk has transformers' own configuration and initialisation and a few
blocks; its pair representation is made from a real sequence (examples/data/proteins.fasta, its first N residues).  The forms take turns:

    host           the module as transformers ships it (its contraction in chunks of 64)
    host, whole    the same with chunk_size = None
    host, compile  torch.compile of that
    lamina         the bundle, by `kernelize` where the library kernels is installed, else by the bundle's patch()
    lamina, compile / lamina, graph    the same under torch.compile(fullgraph=True), and as a captured CUDA graph
    hub Triton     kernels-community's esmfold2-trimul, given as the folder that holds esmfold2_trimul

Every form's output is compared with the trunk in float64 on its first block's input.  At the end: what one eager call costs the CPU at N = 64, in all and
in the plug-in alone.  Runs without a network, and on a CPU for tests of this file.
"""
import argparse
import copy
import importlib.util
import json
import statistics
import sys
import time
import types
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
LAYER, KEY = "EsmFold2TriangleMultiplication", "esmfold2/EsmFold2TriangleMultiplicativeUpdate"
LIMIT = {torch.bfloat16: 2e-2, torch.float32: 1e-4}  # of the trunk's update, against the host's own error in the same dtype


def load_bundle(folder, device):
    """The variant for this device, imported as the library kernels does it, which need not be installed."""
    pattern = "torch-stable-abi*-cpu-*" if device.type == "cpu" else "torch-stable-abi*-rocm*" if torch.version.hip else "torch-stable-abi*-cu*"
    found = [path for path in sorted(Path(folder).glob(f"build/{pattern}")) if device.type == "cpu" or "-cpu-" not in path.name]
    if not found:
        sys.exit(f"{folder} has no build/{pattern}")
    name = json.loads((found[-1] / "metadata.json").read_text())["id"]
    spec = importlib.util.spec_from_file_location(name, found[-1] / "__init__.py", submodule_search_locations=[str(found[-1])])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module, found[-1]


def sequence(count):
    records = [record.split("\n", 1) for record in (ROOT / "examples/data/proteins.fasta").read_text().split(">")[1:]]
    longest = max((text.replace("\n", "") for _, text in records), key=len)
    if count > len(longest):
        sys.exit(f"N = {count}: the longest sequence here has {len(longest)} residues")
    return longest[:count]


def pair_of(residues, channels, dtype, device):
    """Residue types at i and j, and their clamped distance in the chain, each by a fixed random embedding; unit variance."""
    generator = torch.Generator().manual_seed(41)
    left, right = (torch.randn(26, channels, generator=generator) for _ in range(2))
    steps = torch.randn(65, channels, generator=generator)
    types_, at = torch.tensor([ord(letter) - 65 for letter in residues]), torch.arange(len(residues))
    pair = left[types_][:, None] + right[types_][None] + steps[(at[:, None] - at[None]).clamp(-32, 32) + 32]
    return (pair / 3**0.5).to(device, dtype)[None]


def trunk_of(blocks, channels, dtype, device):
    from transformers import EsmFold2Config
    from transformers.models.esmfold2 import modeling_esmfold2 as esmfold2

    class Trunk(esmfold2.EsmFold2PreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.folding_trunk = esmfold2.EsmFold2PairUpdateStack(config, blocks)
            self.post_init()

        def forward(self, pair, mask):
            return self.folding_trunk(pair, pair_attention_mask=mask)

    torch.manual_seed(43)
    model = Trunk(EsmFold2Config(**({"pairwise_hidden_size": channels} if channels else {}))).eval().to(device, dtype)
    for name, parameter in model.named_parameters():
        if any(word in name for word in model._keep_in_fp32_modules_strict):  # as loading a checkpoint does
            parameter.data = parameter.data.float()
    return model


def chunks(model, size):
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "chunk_size"):
            module.chunk_size = size
    return model


def kernelized(model, variant, bundle, device):
    """(the model with the bundle's layer, by which way)"""
    model = copy.deepcopy(model)
    try:
        import kernels
    except ImportError:
        report = bundle.patch(model)
        assert report.swapped and not report.skipped, report
        return model, "patch"
    from transformers.models.esmfold2.modeling_esmfold2 import EsmFold2TriangleMultiplicativeUpdate as Update
    if getattr(Update, "kernel_layer_name", None) != LAYER:
        kernels.replace_kernel_forward_from_hub(Update, LAYER)
    repository = kernels.LocalLayerRepository(repo_path=variant, layer_name=LAYER)
    with kernels.use_kernel_mapping({LAYER: {device.type: {kernels.Mode.INFERENCE: repository}}}, inherit_mapping=False):
        return kernels.kernelize(model, mode=kernels.Mode.INFERENCE, device=device.type), f"kernelize {kernels.__version__}"


def hub_triton(model, folder):
    sys.path.insert(0, folder)
    from esmfold2_trimul.layers import ESMFold2TriangleMultiplication as Layer
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module).__name__ == "EsmFold2TriangleMultiplicativeUpdate":
            module.forward = types.MethodType(Layer.forward, module)
    return model


def captured(model, pair, mask):
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        model(pair, mask)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = model(pair, mask)

    def replay(*_):
        graph.replay()
        return out
    return replay


def forms_of(options, model, bundle, variant, pair, mask, device):
    """name -> (callable, what it is)"""
    whole = chunks(model, None)
    ours, way = kernelized(whole, variant, bundle, device)
    makers = {"host": lambda: (model, "chunks of 64"), "host, whole": lambda: (whole, ""),
              "host, compile": lambda: (torch.compile(copy.deepcopy(whole), dynamic=False), ""),
              "lamina": lambda: (ours, way), "lamina, compile": lambda: (torch.compile(ours, fullgraph=True, dynamic=False), way)}
    if device.type == "cuda":
        makers["lamina, graph"] = lambda: (captured(ours, pair, mask), way)
        if options.hub_triton:
            makers["hub Triton"] = lambda: (hub_triton(whole, options.hub_triton), "kernels-community esmfold2-trimul")
    for name, make in makers.items():
        if options.forms and name not in options.forms:
            continue
        torch._dynamo.reset()
        try:
            yield (name, *make())
        except Exception as error:  # a form that is not there is a row that says so
            print(f"{name}: {type(error).__name__}: {error}")
            yield name, None, f"{type(error).__name__}: {error}"


def seconds(call, pair, mask, device, repeats):
    if device.type == "cpu":
        start = time.perf_counter()
        for _ in range(repeats):
            call(pair, mask)
        return (time.perf_counter() - start) / repeats
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        call(pair, mask)
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) * 1e-3 / repeats


def extra_memory(call, pair, mask, device):
    if device.type == "cpu":
        return 0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call(pair, mask)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def measure(options, count, bundle, variant, device, dtype):
    model = trunk_of(options.blocks, options.channels, dtype, device)
    channels = next(module.dim for module in model.modules() if hasattr(module, "flow"))
    pair = pair_of(sequence(count), channels, dtype, device)
    mask = torch.ones(1, count, count, device=device)
    # Beyond --truth residues float64 takes longer than it is worth, and the host's own output stands in for it.
    truth = None
    if count <= options.truth:
        pinned, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
        try:
            truth = chunks(model, 64).double()(pair.double(), mask.double()) - pair.double()
        finally:
            torch.Tensor.float = pinned
    rows, calls = [], {}
    for name, call, what in forms_of(options, model, bundle, variant, pair, mask, device):
        row = {"N": count, "C": channels, "blocks": options.blocks, "dtype": str(dtype)[6:], "form": name, "what": what}
        rows.append(row)
        if call is None:
            continue
        try:
            update = call(pair, mask).double() - pair.double()
            if truth is None:
                truth = update.clone()  # the first form is the host itself
            row["error"] = float((update - truth).norm() / truth.norm())
            del update
            call(pair, mask)
            row["peak_extra_bytes"] = extra_memory(call, pair, mask, device)
            calls[name] = call
        except Exception as error:
            row["what"] = f"{what}: {type(error).__name__}: {error}"
            print(f"{name}: {row['what']}")
    if not calls:
        sys.exit("no form ran")
    repeats = max(1, int(options.seconds / max(1e-4, seconds(next(iter(calls.values())), pair, mask, device, 1))))
    times = {name: [] for name in calls}
    for round_ in range(options.rounds):
        for name in list(calls) if round_ % 2 == 0 else reversed(list(calls)):
            times[name].append(seconds(calls[name], pair, mask, device, repeats))
    for row in rows:
        if row["form"] in times:
            row["microseconds_per_block"] = statistics.median(times[row["form"]]) * 1e6 / options.blocks
            print("N={N:5d} {form:16s} {microseconds_per_block:10.1f} us/block  peak +{0:8.1f} MB  error {error:.2e}  {what}".format(
                row["peak_extra_bytes"] / 1e6, **row))
    return rows


def wrong(rows, dtype):
    """What no measurement may stand for: a form of ours that is farther from the truth than the host's own rounding explains."""
    errors = {(row["N"], row["form"]): row["error"] for row in rows if "error" in row}
    return [f"N={count}: {form} is {error:.2e} from the truth, the host {errors[count, 'host']:.2e}" for (count, form), error in errors.items()
            if form.startswith("lamina") and (count, "host") in errors and error > max(LIMIT[dtype], 2 * errors[count, "host"])]


def overhead(options, bundle, variant, device, dtype):
    """CPU time of one eager call of the layer at N = 64, and of the plug-in's part of it (its checks and launches)."""
    model, way = kernelized(trunk_of(1, options.channels, dtype, device), variant, bundle, device)
    layer = next(module for module in model.modules() if hasattr(module, "flow"))
    pair, mask = pair_of(sequence(64), layer.dim, dtype, device), torch.ones(1, 64, 64, device=device)
    layer(pair, mask)
    ops = layer.forward.__func__.__globals__["_ops"]  # of the package that kernelize loaded, or of ours
    weights = next(iter(ops.site_of(ops.BINDINGS[KEY], layer).weights.values()))
    prepared = next(iter(weights.calls.values()))[0]
    def microseconds(call):
        found = []
        for _ in range(30):
            if device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda._sleep(20_000_000)  # the GPU is busy: only enqueueing is timed
            start = time.perf_counter()
            for _ in range(100):
                call()
            found.append((time.perf_counter() - start) / 100 * 1e6)
        return statistics.median(found)

    whole = microseconds(lambda: layer(pair, mask))
    out = layer(pair, mask)
    prepared.facts[2].data = out.data_ptr()
    workspace = torch.empty(prepared.call.workspace_size + 256, dtype=torch.uint8, device=device)
    prepared.call.workspace = -(-workspace.data_ptr() // 256) * 256
    plug_in = microseconds(lambda: prepared.run(prepared.handle, prepared.where, prepared.error_at))
    print(f"one eager call at N=64: {whole:.1f} us of CPU, of which the plug-in {plug_in:.1f} us; Python {whole - plug_in:.1f} us ({way})")
    return {"N": 64, "form": "overhead", "what": way, "microseconds": whole, "plug_in_microseconds": plug_in, "python_microseconds": whole - plug_in}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--hub-triton")
    parser.add_argument("--out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 384, 512, 768, 1024])
    parser.add_argument("--channels", type=int, help="the configuration's own (256) if left out")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.15, help="of one form in one round")
    parser.add_argument("--truth", type=int, default=512, help="largest N compared with float64; beyond it with the host's own output")
    parser.add_argument("--forms", nargs="+")
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
        torch.backends.cuda.matmul.allow_tf32 = False
    bundle, variant = load_bundle(options.bundle, device)
    facts = {"torch": torch.__version__, "bundle": bundle.info(device),
             "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu", "command": " ".join(sys.argv)}
    print(json.dumps(facts))
    result = {"facts": facts, "rows": []}
    with torch.inference_mode(False), torch.no_grad():
        for count in options.sizes:
            result["rows"] += measure(options, count, bundle, variant, device, dtype)
            if options.out:
                Path(options.out).write_text(json.dumps(result, indent=1) + "\n")
        result["rows"].append(overhead(options, bundle, variant, device, dtype))
    result["wrong"] = wrong(result["rows"], dtype)
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=1) + "\n")
    if result["wrong"]:
        sys.exit("; ".join(result["wrong"]))


if __name__ == "__main__":
    main()
