"""Runs the hosts' real modules once, forward and backward; how and into what file says conformance/golden_hosts.py.

    python make_golden.py OUT

The options of other layers' scripts are accepted and not needed.
"""
import argparse
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "conformance"))
from golden_hosts import Golden  # noqa: E402

WIDTH, INNER = 16, 24


def rows(inputs):
    def draw(generator):
        normal = lambda width: torch.randn(2, 5, width, generator=generator, dtype=torch.float64)
        return {"hidden_states": normal(inputs), "input_tensor": normal(WIDTH)}
    return draw


def run(golden, host, module, config, outer, own):
    sizes = {"vocab_size": 8, "hidden_size": WIDTH, "intermediate_size": INNER, "num_attention_heads": 2, "num_hidden_layers": 1,
             "hidden_dropout_prob": 0.0}
    config = config(**sizes)
    for name, inputs in ((outer, INNER), (own, WIDTH)):
        golden.run_torch(host, name, getattr(module, name)(config), rows(inputs), differentiated=["input_tensor"])


def esm(golden):
    from transformers.models.esm import modeling_esm
    run(golden, "esm", modeling_esm, modeling_esm.EsmConfig, "EsmOutput", "EsmSelfOutput")


def bert(golden):
    from transformers.models.bert import modeling_bert
    run(golden, "bert", modeling_bert, modeling_bert.BertConfig, "BertOutput", "BertSelfOutput")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    for name in ("openfold", "megafold", "gpu-mode", "alphafold3"):
        parser.add_argument(f"--{name}")
    golden = Golden(parser.parse_args().out, HERE.parent / "hosts")
    golden.attempt("esm", esm)
    golden.attempt("bert", bert)
    sys.exit(1 if golden.failures else 0)


main()
