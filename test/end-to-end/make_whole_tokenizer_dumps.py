"""Checkpoints and gradients of small models with the whole vocabularies of GPT-2 and Llama 3; see
make_whole_tokenizer_dumps.sh."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def make(folder: Path, model: torch.nn.Module, checkpoint: str, padding: int) -> None:
    ids = json.loads((folder / "ids.json").read_text())
    longest = max(map(len, ids))
    tokens = torch.tensor([own + [padding] * (longest - len(own)) for own in ids])
    mask = torch.tensor([[1] * len(own) + [0] * (longest - len(own)) for own in ids])
    labels = torch.where(mask == 1, tokens, torch.tensor(-100))
    model.eval()
    model(tokens, attention_mask=mask, labels=labels).loss.backward()
    parameters = dict(model.named_parameters())
    save_file({name: own.detach().contiguous() for name, own in parameters.items()}, folder / checkpoint)
    save_file({name: own.grad.contiguous() for name, own in parameters.items()}, folder / "gradient.safetensors")
    model.config.save_pretrained(folder)


def main(out: Path) -> None:
    torch.manual_seed(7)
    none = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    gpt2 = GPT2Config(vocab_size=50257, n_embd=64, n_layer=2, n_head=4, n_positions=128, **none)
    make(out / "gpt2", GPT2LMHeadModel(gpt2), "model.safetensors", 50256)
    llama = LlamaConfig(
        vocab_size=128256,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
    )
    make(out / "llama", LlamaForCausalLM(llama), "checkpoint.safetensors", 128009)


main(Path(sys.argv[1]))
