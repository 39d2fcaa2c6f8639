"""Train shapes-tiny, the small CLIP that the repository bundles for the Shapes data set (`pretraining/`).

    python tools/pretrain_shapes.py --output assets/shapes-tiny.pt

Stop it at any time: the same command goes on from its last epoch (`<output>.resume`) and ends with the same weights.
On a machine that others use too, two environment variables keep its threads from waiting for each other:
OMP_WAIT_POLICY=active GOMP_SPINCOUNT=infinite.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from harness.errors import exit_with
from pretraining.training import BATCH, pretrain

REPOSITORY = Path(__file__).resolve().parent.parent


def main(argv=None):
    parser = argparse.ArgumentParser(description="Train shapes-tiny, the bundled CLIP, from scratch on a CPU.")
    weights = REPOSITORY / "assets" / "shapes-tiny.pt"
    parser.add_argument("--output", type=Path, default=weights, help="weights file to write")
    parser.add_argument("--epochs", type=int, default=17)
    parser.add_argument("--data-size", type=int, default=40000, help="number of pictures")
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    pretrain(args.output, args.epochs, args.data_size, args.batch_size, args.seed)


if __name__ == "__main__":
    exit_with(main)
