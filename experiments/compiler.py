"""What XLA is told when it compiles training and evaluation."""

from collections.abc import Mapping

# Matrix products by Eigen: YNNPACK's, the default on CPU, take twice the time in the
# shapes of these networks (`scripts/benchmark.py training`). Without effect elsewhere.
OPTIONS: Mapping[str, str] = {"xla_cpu_experimental_ynn_fusion_type": ""}
