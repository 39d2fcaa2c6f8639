"""Say what the learned prompts of a trained run are near to, or draw which patches of a picture SEP chooses.

    python tools/interpret.py --model-dir output/base2new/train_base/shapes/shots_16/SEP/shapes/seed1
    python tools/interpret.py --model-dir RUN --image one.png two.png --output figures

For each learned context token of each layer it prints the nearest words of CLIP's vocabulary and their Euclidean
distances from it; a word that ends in "-" is the beginning of one. json is one object a token. With --image it draws
instead, a figure for each picture: in front of which layer of the image encoder which patches are the representative
tokens that SEP merges into its prompts, numbered from the largest power on.
"""

import argparse
import csv
import io
import itertools
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness.start  # noqa: F401  first, as it says what is missing

# isort: split
from harness.errors import UserError, exit_with
from harness.whole_file import write_whole
from inference.api import load_run
from inference.interpret import chosen_tokens, nearest_words, remarks


def text(tokens):
    for (layer, name), group in itertools.groupby(tokens, lambda token: token[:2]):
        place = f"Layer {layer}, the input" if layer == 0 else f"Layer {layer}"
        print(f"{place}:" if name is None else f'{place}, class "{name}":')
        for token in group:
            print(f"{token.number:4}   " + ", ".join(f"{word} {distance:.4f}" for word, distance in token.words))


def as_json(tokens):
    for layer, name, number, words in tokens:
        print(json.dumps({"layer": layer, "class": name, "token": number, "words": [w._asdict() for w in words]}))


def as_csv(tokens):
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["layer", "class", "token", "rank", "word", "distance"])
    for layer, name, number, words in tokens:
        writer.writerows([layer, name, number, rank, *word] for rank, word in enumerate(words, start=1))


FORMATS = {"text": text, "json": as_json, "csv": as_csv}


def words(model, args):
    """Print the nearest words, and what must be said of them."""
    FORMATS[args.format](nearest_words(model, args.top))
    for remark in remarks(model):
        print(remark, file=sys.stdout if args.format == "text" else sys.stderr)


def figures(model, args):
    """Draw a figure for each picture, and print where it lies."""
    from inference.overlay import draw  # matplotlib takes a second to import

    stems = [Path(path).stem for path in args.image]
    if len(set(stems)) < len(stems):
        twice = max(stems, key=stems.count)
        raise UserError(f'several pictures are called "{twice}", and so would be their figures: rename them.')
    for path, stem in zip(args.image, stems):
        figure = draw(*chosen_tokens(model, path))
        target = Path(args.output, f"{stem}_tokens.png")
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=150)
        write_whole(target, drawn.getvalue())
        print(target)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", required=True, metavar="RUN", help="folder of a run of train.py")
    parser.add_argument("--top", type=int, default=5, help="nearest words that are printed (default 5)")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--image", nargs="+", metavar="PICTURE", help="draw what SEP chooses of these instead")
    parser.add_argument("--output", default="output", metavar="FOLDER", help="for PICTURE_tokens.png (default output)")
    args = parser.parse_args(argv)
    if args.top < 1:
        parser.error("--top must be 1 or more")
    model = load_run(args.model_dir)
    figures(model, args) if args.image else words(model, args)
    return 0


if __name__ == "__main__":
    exit_with(main)
