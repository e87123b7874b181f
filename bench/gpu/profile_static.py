"""What the device code says of itself: registers, spills, shared memory, occupancy and instructions of every kernel of a layer's CUDA builds.

    python3 bench/gpu/profile_static.py LAYER --tools DIR --commit NAME [--write FILE.md] [--spills-fail]

Registers, stack and local memory come from cuobjdump on the fat binary that the plug-in embeds (its bytes are looked for in the plug-in);
threads and setmaxnreg from the machine code; dynamic shared memory from the launches that the plug-in itself makes for a list of problems
(layers/LAYER/cuda_problems.py, where there is one), on the stand-in driver build/fake_cuda.  No GPU is touched.
"""
import argparse
import collections
import glob
import importlib.util
import os
import re
import subprocess
import sys
import tempfile

from plugin import Plugin

# Registers, warps, CTAs and bytes of shared memory of one multiprocessor; what each CTA takes of the latter beside its own.
LIMITS = {"sm_80": (65536, 64, 32, 167936), "sm_86": (65536, 48, 16, 102400), "sm_89": (65536, 48, 24, 102400),
          "sm_90": (65536, 64, 32, 233472), "sm_90a": (65536, 64, 32, 233472), "sm_100": (65536, 64, 32, 233472),
          "sm_120": (65536, 48, 24, 102400)}
RESERVED_SHARED = 1024
COUNTED = {"tensor": r"\b[HQ]G?MMA\b", "FFMA": r"\bFFMA\b", "TMA": r"\bUTMA\w+", "LDG.128": r"\bLDG\.\S*128", "LDG": r"\bLDG\b",
           "STG.128": r"\bSTG\.\S*128", "STG": r"\bSTG\b", "LDGSTS": r"\bLDGSTS\b", "LDL, STL": r"\b(?:LDL|STL)\b"}


def problems_of(layer):
    """The file that names problems launching every kernel of a layer, or None: then its page tells no launches."""
    path = f"layers/{layer}/cuda_problems.py"
    return path if os.path.exists(path) else None


def launches(layer, path, fake, capability):
    """{kernel: {C: (threads, most shared bytes)}} of one capability, by a child that has the stand-in as its driver."""
    if not problems_of(layer):
        return {}
    found, c = collections.defaultdict(dict), 0  # what packs comes before the first problem
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "launches")
        environment = os.environ | {"LD_LIBRARY_PATH": fake, "LAMINA_FAKE_CUDA": f"capability={capability}", "LAMINA_FAKE_CUDA_LAUNCHES": log}
        command = [sys.executable, os.path.abspath(__file__), "--launches", layer, path]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{path} on the stand-in driver of capability {capability}: {done.stderr.strip()}")
        with open(log) as file:
            for line in file:
                name, *words = line.split()
                if name == "problem":
                    c = int(words[0])
                    continue
                threads, shared = int(words[5]), int(words[7])
                most = max(shared, found[name].get(c, (0, 0))[1])
                found[name][c] = threads, most
    return found


def child(layer, path):
    """The other half of launches()."""
    spec = importlib.util.spec_from_file_location("problems", problems_of(layer))
    problems = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(problems)
    for problem, enqueue in problems.launch_problems(Plugin(path)):
        with open(os.environ["LAMINA_FAKE_CUDA_LAUNCHES"], "a") as file:
            file.write(f"problem {problem['C']}\n")
        try:
            enqueue()
        except RuntimeError as refused:  # a GPU of little shared memory does not take every width: the build's own words
            if "status 2" not in str(refused):
                raise


def run(tool, *arguments):
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=True).stdout


def kernels_of(tool, fatbin, gpu):
    """{name: facts} of one GPU's machine code in a fat binary."""
    facts = collections.defaultdict(dict)
    usage = run(tool, "-res-usage", "-arch", gpu, fatbin)
    for name, line in re.findall(r"Function (\w+):\s*\n\s*(REG:.*)", usage):
        numbers = dict(re.findall(r"(\w+):(\d+)", line))
        facts[name] |= {"registers": int(numbers["REG"]), "stack": int(numbers["STACK"]), "local": int(numbers["LOCAL"]), "static": int(numbers["SHARED"])}
    for part in run(tool, "-sass", "-arch", gpu, fatbin).split("Function : ")[1:]:
        name, body = part.split("\n", 1)
        code = [line for line in body.splitlines() if re.search(r"/\*[0-9a-f]{4,}\*/", line)]
        text = "\n".join(code)
        facts[name.strip()] |= {"instructions": len(code), "setmaxnreg": re.findall(r"USETMAXREG\S*\s+(?:\w+,\s*)?(0x[0-9a-f]+|\d+)", text)} | {
            title: len(re.findall(pattern, text)) for title, pattern in COUNTED.items()}
    return facts


def occupancy(gpu, threads, registers, shared):
    """(CTAs of a multiprocessor, percent of its warps): what registers, shared memory and warps allow."""
    most_registers, most_warps, most_ctas, most_shared = LIMITS[gpu]
    warps = (threads + 31) // 32
    per_warp = (registers * 32 + 255) // 256 * 256
    by_registers = most_registers // per_warp // warps if registers else most_ctas
    by_shared = most_shared // ((shared + RESERVED_SHARED + 127) // 128 * 128)
    ctas = min(most_ctas, most_warps // warps, by_registers, by_shared)
    return ctas, 100 * ctas * warps / most_warps


def table(gpu, facts, launched, widths):
    """Lines of one GPU's table, and the names of kernels that spill."""
    head = ["kernel", "threads", "registers", "setmaxnreg", "spills, bytes", *(f"shared at C = {c}" for c in widths), "CTAs an SM", "% of warps",
            "tensor", "FFMA", "TMA", "LDG (128)", "STG (128)", "LDGSTS", "instructions"]
    lines, spilling = [], []
    for name, fact in sorted(facts.items()):
        by_width = launched.get(name, {})
        threads = next((threads for threads, _ in by_width.values()), 0)
        shared = [str(by_width[c][1]) if c in by_width else "" for c in widths]
        first = next((by_width[c][1] for c in widths if c in by_width), None)
        # The 1 KB that the system takes of each CTA is in cuobjdump's static number on Hopper, and in RESERVED_SHARED here.
        static = max(0, fact["static"] - (RESERVED_SHARED if gpu.startswith("sm_9") or gpu.startswith("sm_1") else 0))
        ctas, percent = occupancy(gpu, threads, fact["registers"], first + static) if threads else (0, 0)
        frame = max(fact["local"], fact["stack"])
        if frame or fact["LDL, STL"]:
            spilling.append(name)
        spills = f"{frame} ({fact['LDL, STL']} LDL, STL)" if frame or fact["LDL, STL"] else "none"
        maximum = "/".join(dict.fromkeys(str(int(value, 0)) for value in fact.get("setmaxnreg", [])))
        lines.append([name, str(threads or ""), str(fact["registers"]), maximum, spills, *shared, str(ctas or ""),
                      f"{percent:.0f}" if threads else "", str(fact["tensor"] or ""), str(fact["FFMA"] or ""), str(fact["TMA"] or ""),
                      f"{fact['LDG']} ({fact['LDG.128']})", f"{fact['STG']} ({fact['STG.128']})", str(fact["LDGSTS"] or ""), str(fact["instructions"])])
    return ["| " + " | ".join(head) + " |", "|" + "--|" * len(head)] + ["| " + " | ".join(line) + " |" for line in lines], spilling


def page(layer, builds, commit, tools):
    """(text, names of kernels that spill) for [(arch, plug-in, fat binary, [(gpu, capability)])]."""
    release = re.search(r"V([\d.]+)", run(tools + "/cuobjdump", "--version"))[1]
    text = f"""# Kernels of the CUDA builds of {layer}

Written by `make gpu-profile-static LAYER={layer}` at commit {commit}: cuobjdump {release}, and the stand-in driver
of `conformance/fake_cuda` for threads and dynamic shared memory (the largest launch at a width; N from 24 to 256, every dtype and switch).
No GPU is touched. Columns: registers are those of the launch; setmaxnreg what warpgroups raise or lower theirs to; spills the frame of local
memory with its loads and stores; CTAs an SM and % of warps the occupancy that registers, shared memory and warps allow at the first of the
widths; then machine instructions: of the tensor cores (HMMA, HGMMA), FFMA, of the tensor memory accelerator, loads and stores of global memory
(those of 128 bits in brackets), cp.async, and all.

"""
    spilling = []
    for arch, plugin, fatbin, gpus in builds:
        with open(fatbin, "rb") as code, open(plugin, "rb") as whole:
            if code.read() not in whole.read():
                raise SystemExit(f"{plugin} does not embed {fatbin}; run: make plugins")
        present = sorted(set(re.findall(r"sm_\d+a?", run(tools + "/cuobjdump", "-lelf", fatbin))))
        text += f"## {arch}\nBuild {Plugin(plugin).build_id}; machine code in it: {', '.join(present)}.\n\n"
        for gpu, capability in gpus:
            facts, launched = kernels_of(tools + "/cuobjdump", fatbin, gpu), launches(layer, plugin, "build/fake_cuda", capability)
            lines, spills = table(gpu, facts, launched, (64, 128, 256, 384, 768))
            spilling += [f"{arch} {name} ({gpu})" for name in spills]
            text += f"### {gpu}\n" + "\n".join(lines) + "\n\n"
    return text + (f"Kernels that spill: {', '.join(spilling)}.\n" if spilling else "No kernel spills.\n"), spilling


def main():
    if sys.argv[1:2] == ["--launches"]:
        return child(*sys.argv[2:4])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layer")
    parser.add_argument("--tools", required=True, help="the folder of cuobjdump")
    parser.add_argument("--commit", required=True)
    parser.add_argument("--write", metavar="FILE.md")
    parser.add_argument("--spills-fail", action="store_true")
    options = parser.parse_args()
    builds = []
    for arch, gpus in (("cuda_sm90a", [("sm_90a", 90)]), ("cuda_sm80", [("sm_80", 80), ("sm_90", 90)])):
        for plugin in glob.glob(f"build/plugins/{options.layer}-*-{arch}.so"):
            builds.append((arch, plugin, f"build/obj/plugins/{options.layer}/{arch}/device_code.fatbin", gpus))
    if not builds:
        sys.exit(f"build/plugins has no CUDA build of {options.layer}; run: make plugins")
    text, spilling = page(options.layer, builds, options.commit, options.tools)
    if options.write:
        with open(options.write + ".new", "w") as file:
            file.write(text)
        os.replace(options.write + ".new", options.write)
        print(f"wrote {options.write}")
    else:
        print(text)
    if spilling and options.spills_fail:
        sys.exit(f"kernels spill: {', '.join(spilling)}")


if __name__ == "__main__":
    main()
