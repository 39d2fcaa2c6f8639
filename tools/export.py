"""Write a trained run as a file for other programs; its ending says what.

    python tools/export.py --model-dir output/base2new/train_base/shapes/shots_16/CoOp/shapes/seed1 --output coop.onnx

FILE.safetensors   the classifier, for a plain CLIP: methods that learn nothing on the image side
FILE.onnx          pictures to logits, all of it, any batch size: every method
FILE.pt2           the same as a program of torch.export

Classes are the run's, or those of --classes or --classes-file. Before it is written in its place, the file's logits are
compared with the run's, on 16 random pictures that pass through the run's transform. docs/export.md has the lines that
use each.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from harness.errors import exit_with
from inference.class_options import add_class_options, classes_of
from inference.export import BATCHES, export_run


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", required=True, metavar="RUN", help="folder of a run of train.py")
    parser.add_argument("--output", required=True, metavar="FILE", help="ends in .safetensors, .onnx or .pt2")
    add_class_options(parser)
    parser.add_argument("--device", metavar="NAME", help="where a .pt2 is to run (default: cpu)")
    args = parser.parse_args(argv)
    done = export_run(args.model_dir, args.output, classes_of(args), args.device)
    print(
        f"{done.path}: {len(done.classnames)} classes; on {sum(BATCHES)} random pictures, in batches of "
        f"{', '.join(map(str, BATCHES))}, logits are the run's to {done.difference:.1e}"
    )
    return 0


if __name__ == "__main__":
    exit_with(main)
