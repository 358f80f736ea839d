# thinkdial in a container, from the lock of the machine it is for:
#   docker build --tag thinkdial .                                       the CPU
#   docker build --build-arg BACKEND=cuda --tag thinkdial:cuda .         NVIDIA GPUs; run it with --gpus all
# CPU builds of PyTorch have a package index of their own: --build-arg TORCH_INDEX=<its URL>.
# The host brings only its driver: the CUDA libraries are among the locked packages.

FROM python:3.11-slim-bookworm AS build
ARG BACKEND=cpu
ARG TORCH_INDEX=
RUN pip install --no-cache-dir "uv>=0.9,<1" && python -m venv /opt/thinkdial
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /src
# The locked packages are a layer of their own, which a change of ours does not build again.
COPY locks locks
RUN uv pip install --python /opt/thinkdial/bin/python --no-deps --require-hashes \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX" --index-strategy unsafe-best-match} \
    --requirements "locks/$BACKEND.txt"
COPY pyproject.toml README.md LICENSE ./
COPY clients clients
COPY serve serve
COPY evals evals
COPY trainer trainer
RUN uv build --wheel && uv pip install --python /opt/thinkdial/bin/python --no-deps dist/thinkdial-*.whl

FROM python:3.11-slim-bookworm
# PyTorch and Triton compile kernels while they run; libnuma is what vLLM for the CPU links.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libnuma1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 thinkdial
COPY --from=build /opt/thinkdial /opt/thinkdial
ENV PATH=/opt/thinkdial/bin:$PATH \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /home/thinkdial
EXPOSE 8000
# A first start on a GPU reads weights and captures graphs, for minutes.
HEALTHCHECK --start-period=10m --interval=30s --timeout=5s \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8000/health').raise_for_status()"]
ENTRYPOINT ["thinkdial"]
CMD ["serve", "--host", "0.0.0.0"]
