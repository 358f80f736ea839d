"""GPUs by name: memory, bandwidth and arithmetic, as their vendors' data sheets state them."""

from dataclasses import dataclass

GB = 10**9
TERA = 10**12


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. memory: bytes. bandwidth: bytes a second. flops: dense bf16 FLOP/s. source: the document.

    Data sheets write memory in units of 10^9 or 2^30 bytes without saying which; 10^9 is taken, so that a
    plan is on the safe side. Where a sheet states arithmetic with sparsity only, this is half of it.
    """

    name: str
    memory: float
    bandwidth: float
    flops: float
    source: str


def _gpu(name: str, gigabytes: float, gigabytes_a_second: float, teraflops: float, source: str) -> Gpu:
    return Gpu(name, gigabytes * GB, gigabytes_a_second * GB, teraflops * TERA, source)


_TABLE = (
    _gpu("A100-40", 40, 1555, 312, "NVIDIA A100 Tensor Core GPU data sheet (2021), 40 GB SXM/PCIe"),
    _gpu("A100-80", 80, 2039, 312, "NVIDIA A100 Tensor Core GPU data sheet (2021), 80 GB SXM"),
    _gpu("H100-80", 80, 3350, 989.5, "NVIDIA H100 Tensor Core GPU data sheet, SXM (1,979 with sparsity)"),
    _gpu("H100-PCIe", 80, 2000, 756.5, "NVIDIA H100 Tensor Core GPU data sheet (2022), PCIe (1,513)"),
    _gpu("H200-141", 141, 4800, 989.5, "NVIDIA H200 Tensor Core GPU data sheet, SXM (1,979 with sparsity)"),
    _gpu("L4", 24, 300, 121, "NVIDIA L4 Tensor Core GPU data sheet (242 with sparsity)"),
    _gpu("L40S", 48, 864, 362, "NVIDIA L40S data sheet (733 with sparsity; 362.05 dense)"),
    _gpu("A10", 24, 600, 125, "NVIDIA A10 Tensor Core GPU data sheet"),
    _gpu("RTX-4090", 24, 1008, 165.2, "NVIDIA Ada GPU architecture white paper, bf16 with fp32 accumulate"),
)
GPUS = {gpu.name: gpu for gpu in _TABLE}


def find_gpu(name: str) -> Gpu:
    """The GPU of a name, whatever its case. Raises ValueError that lists those known."""
    for gpu in _TABLE:
        if gpu.name.lower() == name.lower():
            return gpu
    raise ValueError(
        f"gpu: {name!r} is not in the table; give one of {', '.join(GPUS)}, or measured step times (--steps)"
    )


def vllm_defaults(gpu: Gpu | None) -> tuple[int, int]:
    """max_num_seqs and max_num_batched_tokens of a vLLM 0.32 server that sets neither.

    `EngineArgs.get_batch_defaults`: larger on 70 GiB and more, A100 excepted. None: as on smaller ones.
    """
    large = gpu is not None and gpu.memory >= 75 * GB and not gpu.name.startswith("A100")
    return (1024, 8192) if large else (256, 2048)
