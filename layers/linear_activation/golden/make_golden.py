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


def rows(generator):
    return {"hidden_states": torch.randn(2, 5, 16, generator=generator, dtype=torch.float64)}


def esm(golden):
    from transformers.models.esm import modeling_esm
    config = modeling_esm.EsmConfig(vocab_size=8, hidden_size=16, intermediate_size=24, num_attention_heads=2, num_hidden_layers=1)
    golden.run_torch("esm", "EsmIntermediate", modeling_esm.EsmIntermediate(config), rows)


def bert(golden):
    from transformers.models.bert import modeling_bert
    config = modeling_bert.BertConfig(vocab_size=8, hidden_size=16, intermediate_size=24, num_attention_heads=2, num_hidden_layers=1)
    golden.run_torch("bert", "BertIntermediate", modeling_bert.BertIntermediate(config), rows)


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
