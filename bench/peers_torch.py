"""Times PyTorch's forms of a layer on the CPU and prints [{"name", "milliseconds"}] as JSON.

peers_torch.py LAYER OP DTYPE THREADS LETTER=EXTENT... ATTRIBUTE=VALUE...
Run by `lamina bench`, which sets the allocator's environment.  The forms are those of layers/LAYER/peers_torch.py: LAYERS[OP] of it is a
function of dims, dtype and attributes that gives forms of equal maths, each of which returns the same tensor.
"""
import importlib.util
import json
import pathlib
import sys
import time

import torch


def forms_of(layer, op):
    path = pathlib.Path(__file__).resolve().parent.parent / "layers" / layer / "peers_torch.py"
    if not path.exists():
        raise SystemExit(f"peers_torch.py: {path} does not exist, so there is no PyTorch form of {layer}")
    spec = importlib.util.spec_from_file_location("peers_of_layer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if op not in module.LAYERS:
        raise SystemExit(f"peers_torch.py: no PyTorch form of {layer}.{op}")
    return module.LAYERS[op]


def milliseconds(form, clock, seconds=2.0, repeats=4):
    """The best of at least `repeats` calls after one that warms up."""
    form()
    best, total, calls = float("inf"), 0.0, 0
    while calls < repeats or total < seconds:
        begin = clock()
        form()
        took = clock() - begin
        best, total, calls = min(best, took), total + took, calls + 1
    return best * 1e3


def main(arguments):
    layer, op, dtype, threads = arguments[:4]
    values = dict(word.split("=", 1) for word in arguments[4:])
    dims = {name: int(value) for name, value in values.items() if len(name) == 1}
    attributes = {name: value for name, value in values.items() if len(name) > 1}
    clock = time.process_time if attributes.get("clock") == "processor" else time.perf_counter
    torch.manual_seed(1)
    torch.set_num_threads(int(threads))
    with torch.inference_mode() if op != "training" else torch.enable_grad():
        forms = forms_of(layer, op)(dims, getattr(torch, dtype), attributes)
        results = [form().double() for form in forms.values()]
        for result in results[1:]:
            difference = ((result - results[0]).norm() / results[0].norm()).item()
            if not difference < 0.02:
                raise SystemExit(f"peers_torch.py: the forms differ by {difference}")
        print(json.dumps([{"name": name, "milliseconds": milliseconds(form, clock)} for name, form in forms.items()]))


if __name__ == "__main__":
    main(sys.argv[1:])
