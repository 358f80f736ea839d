"""New weights for a running engine: what each of vLLM's workers does with them."""

from collections.abc import Iterator
from typing import Any

import torch
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.platforms import current_platform


class WeightUpdates:
    """Mixed into vLLM's worker class (`worker_extension_cls`); called by name through `collective_rpc`."""

    model_runner: Any

    def take_weights(
        self, weights: Iterator[tuple[str, torch.Tensor]] | None = None, path: str | None = None
    ) -> None:
        """Replace all weights, by an iterator with the checkpoint's names or by a checkpoint's folder.

        Caches computed with the old ones are the caller's to reset.
        """
        self.model_runner.reload_weights(weights_iterator=weights, weights_path=path)
        if current_platform.is_cpu():
            repack_embeddings(self.model_runner.get_model())


def repack_embeddings(model: torch.nn.Module) -> None:
    """Pack again what CPU layers multiply with where they keep their weight too.

    vLLM 0.32 reloads the weight of an output layer that is tied to the embeddings and leaves the packed copy
    of the old one in use, without an error.
    """
    for layer in model.modules():
        weight = getattr(layer, "weight", None)
        if hasattr(layer, "cpu_linear") and weight is not None and weight.numel():
            dispatch_cpu_unquantized_gemm(layer, remove_weight=False)
