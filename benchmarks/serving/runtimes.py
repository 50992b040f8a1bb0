"""Run the strong model in a bare loop with one runtime and say how many pictures a second it classifies.

Runs in build/peers/runtimes, a process for each measurement, because threads are counted once a process:
`python -m benchmarks.serving.runtimes ENGINE THREADS BATCH,BATCH SECONDS` prints one line of JSON.
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

MODEL = Path(__file__).parents[2] / "models" / "cifar10-resnet.pt"
EXPORTED = Path(__file__).parents[2] / "build" / "bench" / "cifar10-resnet.onnx"
WARM_UP_RUNS = 6

Images = NDArray[np.uint8]  # N×3×32×32, 0..255
Logits = NDArray[np.float32]
Engine = Callable[[Images], Logits]


def artefact() -> torch.jit.ScriptModule:
    """Load the model as its documentation says: weights in half precision inside, float32 arithmetic."""
    return torch.jit.load(str(MODEL), map_location="cpu").eval().float()


def eager() -> nn.Module:
    """Build the network again from the artefact's weights, channels-last: for the exporters."""
    from training.networks import Classifier  # noqa: PLC0415
    from training.residual import ResNet  # noqa: PLC0415

    module = artefact()
    weights = {name.removeprefix("network."): value for name, value in module.state_dict().items()}
    network = ResNet(len(weights["head.weight"]), weights["stem.weight"].shape[1], module.size)
    for stage in network.stages:
        for index in "123":  # normalisations are folded into the convolutions already
            old = getattr(stage, f"conv{index}")
            setattr(stage, f"conv{index}", nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1))
            setattr(stage, f"norm{index}", nn.Identity())
    network.load_state_dict(weights)
    whole = Classifier(network, module.size, module.temperature).eval().requires_grad_(False)
    return whole.to(memory_format=torch.channels_last)


class Half(nn.Module):
    """The network in bfloat16 between float32 pixels and float32 logits."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.network = whole.network.bfloat16()
        self.temperature = whole.temperature

    def forward(self, images: Tensor) -> Tensor:
        normalised = (images.to(torch.float32) / 127.5 - 1.0).to(torch.bfloat16)
        return (
            self.network(normalised.contiguous(memory_format=torch.channels_last)).float() / self.temperature
        )


def with_torch(module: Callable[[Tensor], Tensor]) -> Engine:
    """Call a module of torch with arrays."""

    def run(images: Images) -> Logits:
        with torch.inference_mode():
            return module(torch.from_numpy(images)).numpy()

    return run


def served(threads: int) -> Engine:
    """Run what the service runs; its softmax is undone, so that all give logits up to a constant."""
    from service.model import load_model  # noqa: PLC0415

    model = load_model(MODEL)
    return lambda images: np.log(model.classify(list(images))).astype(np.float32)


def torchscript(threads: int) -> Engine:
    """Freeze and optimise as torch's documentation says."""
    return with_torch(torch.jit.optimize_for_inference(torch.jit.freeze(artefact())))


def torch_bfloat16(threads: int) -> Engine:
    return with_torch(Half(eager()).eval())


def onnx_runtime(threads: int) -> Engine:
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(exported(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def openvino(precision: str) -> Callable[[int], Engine]:
    """Compile for OpenVINO's CPU plugin, without pinning: two processes could be pinned to one core."""

    def build(threads: int) -> Engine:
        import openvino as ov  # noqa: PLC0415

        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        settings |= {"INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": False}
        core = ov.Core()
        request = core.compile_model(core.read_model(exported()), "CPU", settings).create_infer_request()
        return lambda images: np.array(next(iter(request.infer([images]).values())))

    return build


ENGINES: dict[str, Callable[[int], Engine]] = {
    "served": served,
    "torchscript": torchscript,
    "torch-bf16": torch_bfloat16,
    "onnxruntime": onnx_runtime,
    "openvino-f32": openvino("f32"),
    "openvino-bf16": openvino("bf16"),
}


def exported() -> str:
    """Export the network for the other runtimes, once."""
    if not EXPORTED.exists() or EXPORTED.stat().st_mtime < MODEL.stat().st_mtime:
        EXPORTED.parent.mkdir(parents=True, exist_ok=True)
        sizes = {"images": {0: torch.export.Dim("n", min=1, max=512)}}
        example = (torch.zeros(2, 3, 32, 32, dtype=torch.uint8),)
        torch.onnx.export(
            eager(),
            example,
            str(EXPORTED),
            dynamo=True,
            dynamic_shapes=sizes,
            external_data=False,
            verbose=False,
        )
    return str(EXPORTED)


def probabilities(logits: Logits) -> NDArray[np.float64]:
    return torch.from_numpy(np.asarray(logits)).double().softmax(1).numpy()


def measure(engine: Engine, images: Images, seconds: float) -> float:
    """Classify one batch over and over: pictures a second, by the median batch."""
    for _ in range(WARM_UP_RUNS):
        engine(images)
    times, ends = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < ends:
        engine(images)
        times.append(time.perf_counter() - began)
    return len(images) / statistics.median(times)


def main(name: str, threads: int, batches: list[int], seconds: float) -> None:
    """Build, compare with the artefact, measure each size of batch, print."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(threads)
    images = np.random.default_rng(0).integers(0, 256, (max(batches), 3, 32, 32), dtype=np.uint8)
    engine = ENGINES[name](threads)
    right = probabilities(with_torch(artefact())(images))
    off = float(np.abs(probabilities(engine(images)) - right).max())
    speeds = {size: measure(engine, images[:size], seconds) for size in batches}
    print(json.dumps({"per_second": speeds, "probability_off": off}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), [int(size) for size in sys.argv[3].split(",")], float(sys.argv[4]))
