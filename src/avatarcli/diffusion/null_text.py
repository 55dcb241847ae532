"""The embedding of an empty prompt that CogVideoX-2B's text stream needs: made once, it spares loading the text encoder again."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from avatarcli.diffusion.checkpoints import NULL_TEXT
from avatarcli.errors import WeightsError
from avatarcli.weights.models import TRANSFORMER_FOLDER

_TOKENS = 226  # CogVideoX's prompts are padded to this


def write_null_text(model: Path) -> Path:
    """Write `text` float16 [226, 4096] beside the transformer of a whole CogVideoX-2B in diffusers' format; the file.

    model: a folder with `tokenizer`, `text_encoder` and `transformer`, as `avatar weights pull --text-encoder` makes it.

    Raises:
        WeightsError: transformers is not installed, or the folder lacks a part.
    """
    try:
        from transformers import T5EncoderModel, T5Tokenizer
    except ImportError as error:
        raise WeightsError(f"{error}; run: pip install transformers sentencepiece") from None
    for part in ("tokenizer", "text_encoder", TRANSFORMER_FOLDER):
        if not (model / part).is_dir():
            mend = "fetch the model with `avatar weights pull cogvideox-2b --text-encoder`"
            raise WeightsError(f"{model} has no folder {part}: {mend}")
    try:
        tokenizer = T5Tokenizer.from_pretrained(model / "tokenizer", local_files_only=True)
        encoder = T5EncoderModel.from_pretrained(
            model / "text_encoder", torch_dtype=torch.bfloat16, local_files_only=True
        )
    except (ImportError, OSError, ValueError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise WeightsError(f"cannot read the text encoder of {model} ({reason})") from error
    tokens = tokenizer("", padding="max_length", max_length=_TOKENS, truncation=True, return_tensors="pt").input_ids
    with torch.inference_mode():
        text = encoder(tokens)[0][0].half()
    out = model / TRANSFORMER_FOLDER / NULL_TEXT
    save_file({"text": text.contiguous()}, out)
    return out
