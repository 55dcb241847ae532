"""Write the embedding of an empty prompt that CogVideoX-2B's text stream needs, so that no text encoder is ever loaded again.

    pip install transformers sentencepiece
    python scripts/cache_null_text.py CogVideoX-2b

The folder is the whole model in diffusers' format, with `tokenizer`, `text_encoder` and `transformer`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import T5EncoderModel, T5Tokenizer

from avatarcli.diffusion.checkpoints import NULL_TEXT

_TOKENS = 226  # CogVideoX's prompts are padded to this


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="CogVideoX-2b's folder")
    folder: Path = parser.parse_args().model
    tokenizer = T5Tokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    encoder = T5EncoderModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.bfloat16, local_files_only=True)
    tokens = tokenizer("", padding="max_length", max_length=_TOKENS, truncation=True, return_tensors="pt").input_ids
    with torch.inference_mode():
        text = encoder(tokens)[0][0].half()
    out = folder / "transformer" / NULL_TEXT
    save_file({"text": text.contiguous()}, out)
    print(f"{out}: {list(text.shape)}")


if __name__ == "__main__":
    main()
