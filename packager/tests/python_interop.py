"""What Python's own libraries make of our bundles, hubs and caches.  One step a process, since they read the environment at import.

Usage: python_interop.py STEP [ARGUMENT...]
"""
import hashlib
import sys
from pathlib import Path

REPO = "acme/triangle-multiplication"


def same_files(folder: Path, bundle: Path) -> None:
    """Below build/, folder holds what the bundle holds."""
    ours, theirs = ({str(p.relative_to(top)): hashlib.sha256(p.read_bytes()).hexdigest() for p in (top / "build").rglob("*") if p.is_file()}
                    for top in (bundle, folder))
    assert ours == theirs, f"{set(ours) ^ set(theirs)} or their bytes differ"


def raises(error, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except error:
        return
    raise AssertionError(f"{function.__name__} did not raise {error.__name__}")


def read(bundle: str) -> None:
    """Every way of reading that huggingface_hub has."""
    from huggingface_hub import HfApi, hf_hub_download, list_repo_files, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    bundle = Path(bundle)
    files = sorted(str(p.relative_to(bundle)) for p in (bundle / "build").rglob("*") if p.is_file())
    for revision in ("v1", "refs/heads/v1"):
        assert sorted(list_repo_files(REPO, repo_type="kernel", revision=revision)) == files
    refs = {branch.name: branch.target_commit for branch in HfApi().list_repo_refs(REPO, repo_type="kernel").branches}
    assert HfApi().repo_info(REPO, repo_type="kernel", revision="v1").sha == refs["v1"]
    one = hf_hub_download(REPO, files[0], repo_type="kernel", revision=refs["v1"])
    assert Path(one).read_bytes() == (bundle / files[0]).read_bytes()
    same_files(Path(snapshot_download(REPO, repo_type="kernel", revision="v1")), bundle)
    raises(EntryNotFoundError, hf_hub_download, REPO, "nothing", repo_type="kernel", revision="v1")
    raises(RepositoryNotFoundError, hf_hub_download, "acme/nothing", "file", repo_type="kernel", revision="v1")
    raises(RepositoryNotFoundError, list_repo_files, "acme/nothing", repo_type="kernel")
    raises(RevisionNotFoundError, hf_hub_download, REPO, files[0], repo_type="kernel", revision="v77")


def upload(bundle: str, repository: str) -> None:
    """The bundle goes to a hub by Python alone; a second commit of the same files changes nothing, a third removes one."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api, bundle = HfApi(), Path(bundle)
    raises(HfHubHTTPError, HfApi(token="wrong").create_repo, repository, repo_type="kernel")
    url = api.create_repo(repository, repo_type="kernel")
    assert api.create_repo(repository, repo_type="kernel", exist_ok=True) == url
    api.create_branch(repository, branch="v1", repo_type="kernel")
    raises(HfHubHTTPError, api.create_branch, repository, branch="v1", repo_type="kernel")
    adds = [CommitOperationAdd(str(p.relative_to(bundle)), p) for p in sorted((bundle / "build").rglob("*")) if p.is_file()]
    extra = CommitOperationAdd("build/extra.txt", b"extra")
    first = api.create_commit(repository, [*adds, extra], commit_message="all", repo_type="kernel", revision="v1")
    api.upload_folder(repo_id=repository, folder_path=bundle / "build", path_in_repo="build", repo_type="kernel", revision="v1")
    last = api.create_commit(repository, [CommitOperationDelete("build/extra.txt")], commit_message="less", repo_type="kernel", revision="v1")
    raises(HfHubHTTPError, api.create_commit, repository, [CommitOperationAdd("build/late.txt", b"late")], commit_message="stale",
           repo_type="kernel", revision="v1", parent_commit=first.oid)
    assert api.repo_info(repository, repo_type="kernel", revision="v1").sha == last.oid
    api.create_tag(repository, tag="v1.0.0", revision="v1", repo_type="kernel")
    assert sorted(api.list_repo_files(repository, repo_type="kernel", revision="v1.0.0")) == sorted(add.path_in_repo for add in adds)
    api.upload_file(repo_id=repository, path_or_fileobj=b"---\nlicense: apache-2.0\n---\n# card\n", path_in_repo="README.md", repo_type="kernel")


def compare(layers, ops, all_hosts: bool) -> None:
    """Layer classes on live modules, with the host's parameters, against float64 and against the host's own eager forward."""
    import copy

    import torch

    from python_modules import check_close, host_classes, randomise

    torch.manual_seed(7)
    outgoing, incoming, esmfold2 = host_classes()
    dim, n, contract = 128, 45, ops.CONTRACT
    cases = [(lambda: outgoing(dim), layers.BoltzTriangleMultiplicationOutgoing),
             (lambda: incoming(dim), layers.BoltzTriangleMultiplicationIncoming),
             (lambda: esmfold2(dim, "outgoing"), layers.EsmFold2TriangleMultiplication),
             (lambda: esmfold2(dim, "incoming"), layers.EsmFold2TriangleMultiplication)]
    for make, layer in cases if all_hosts else cases[1:2]:
        module = randomise(make())
        for dtype in (torch.float32, torch.bfloat16):
            host = copy.deepcopy(module).to(dtype)
            if "norm_start.weight" in dict(host.named_parameters()):
                host.norm_start.float(), host.norm_mix.float()
            x = torch.randn(2, n, n, dim).to(dtype)
            mask = (torch.rand(2, n, n) > 0.2).to(dtype)
            with torch.no_grad():
                truth, eager = copy.deepcopy(host).double()(x.double(), mask.double()), host(x, mask)
                type(host).calls = 0
                found = layer.forward(host, x, mask)
                assert type(host).calls == 0, "the host's own forward ran"
                assert found.dtype == dtype and found.shape == x.shape
                what = f"{layer.__name__} {host.flow}"
                check_close(found, truth, dtype, what, contract)
                # Two roundings of one formula may differ by both their errors.
                assert (found.double() - eager.double()).norm() / truth.norm() <= 3 * contract["tolerances"]["frobenius"][str(dtype)[6:]]
                # A changed weight is seen, strided input is taken.
                host.get_parameter("proj_emit.weight" if hasattr(host, "proj_emit") else "p_out.weight").mul_(2)
                check_close(layer.forward(host, x.transpose(1, 2), mask), copy.deepcopy(host).double()(x.transpose(1, 2).double(), mask.double()),
                            dtype, what + ", new weights and a strided input", contract)


def kernelize(folder: str) -> None:
    """The library swaps the forward of a live module for ours, and back where ours cannot serve."""
    import torch
    from kernels import LocalLayerRepository, Mode
    from kernels import kernelize as swap
    from kernels import replace_kernel_forward_from_hub, use_kernel_mapping

    from python_modules import host_classes

    *_, esmfold2 = host_classes()
    replace_kernel_forward_from_hub(esmfold2, "EsmFold2TriangleMultiplication")
    stack = torch.nn.Sequential(esmfold2(64, "outgoing"), esmfold2(64, "incoming")).eval()
    x = torch.randn(1, 30, 30, 64)
    with torch.no_grad():
        before = stack(x)
        assert esmfold2.calls == 2
        repository = LocalLayerRepository(repo_path=Path(folder), layer_name="EsmFold2TriangleMultiplication")
        with use_kernel_mapping({"EsmFold2TriangleMultiplication": {"cpu": {Mode.INFERENCE: repository}}}, inherit_mapping=False):
            stack = swap(stack, mode=Mode.INFERENCE, device="cpu", use_fallback=False)
        after = stack(x)
        assert esmfold2.calls == 2, "the host's own forward ran"
        assert (before - after).norm() / before.norm() < 1e-5, float((before - after).norm() / before.norm())
    # Gradients, too, are the bundle's.
    stack(x).sum().backward()
    assert esmfold2.calls == 2 and all(p.grad is not None for p in stack.parameters())


def hub_kernel(revision: str = "") -> None:
    from kernels import get_kernel

    module = get_kernel(REPO, **({"revision": revision} if revision else {"version": 1}))
    compare(module.layers, module._ops, all_hosts=False)


def local_kernel(folder: str) -> None:
    from kernels import get_local_kernel

    module = get_local_kernel(Path(folder))
    compare(module.layers, module._ops, all_hosts=True)


if __name__ == "__main__":
    {step.__name__: step for step in (read, upload, kernelize, hub_kernel, local_kernel)}[sys.argv[1]](*sys.argv[2:])
