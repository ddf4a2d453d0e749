"""Makes gradients of batches of texts through transformers' models, with the truth, for `texts.ts`.

    python test/bench/texts/make_texts.py FOLDER MODEL BLOCKS WIDTH BATCH LENGTH SEED [--steps N] [--noise S] [--dtype D]

MODEL: gpt2, llama, qwen2, gemma, bert. Random weights, as no package of PyPI ships trained ones; --steps trains them on other texts
of the same kind. Tokens are drawn with the frequencies of words (Zipf), the vocabularies have their real sizes (Llama's and Gemma's
cut to 32,000). Labels are the next tokens; BERT classifies sequences of 8 to LENGTH tokens between [CLS] and [SEP]. --padding gives the decoders' texts lengths
from a third of LENGTH on and fills them up on that side; --lora R trains adapters of that rank alone (PEFT), --adapter-steps N steps
before.
"""

import argparse
import json
import os

import torch
import transformers
from safetensors.torch import save_file

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("model", choices=["gpt2", "llama", "qwen2", "gemma", "bert"])
for name in ("blocks", "width", "batch", "length", "seed"):
    parser.add_argument(name, type=int)
parser.add_argument("--steps", type=int, default=0)
parser.add_argument("--weights", help="file that the weights are kept in after --steps, and taken from where it is there")
parser.add_argument("--noise", type=float, default=0.0, help="standard deviation, as a share of each tensor's root mean square")
parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
parser.add_argument("--padding", choices=["left", "right"])
parser.add_argument("--padding-loss", action="store_true", help="padding is asked for too, as where labels are a copy of the inputs")
parser.add_argument("--attention", choices=["eager", "sdpa"], default="eager")
parser.add_argument("--lora", type=int)
parser.add_argument("--adapter-steps", type=int, default=0)
given = parser.parse_args()
torch.manual_seed(given.seed)
heads = given.width // 64
common = dict(max_position_embeddings=512, attn_implementation=given.attention)
gated = dict(
    hidden_size=given.width,
    num_hidden_layers=given.blocks,
    num_attention_heads=heads,
    num_key_value_heads=max(1, heads // 4),
    intermediate_size=given.width * 8 // 3 // 8 * 8,
    **common,
)
if given.model == "gpt2":
    config = transformers.GPT2Config(
        n_embd=given.width, n_layer=given.blocks, n_head=heads, n_positions=512, attn_implementation=given.attention
    )
    model = transformers.GPT2LMHeadModel(config)
elif given.model == "llama":
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=32000, **gated))
elif given.model == "qwen2":
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(vocab_size=151936, **gated))
elif given.model == "gemma":
    model = transformers.GemmaForCausalLM(
        transformers.GemmaConfig(vocab_size=32000, head_dim=64, pad_token_id=0, **gated)
    )
else:
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=30522,
            hidden_size=given.width,
            num_hidden_layers=given.blocks,
            num_attention_heads=heads,
            intermediate_size=4 * given.width,
            num_labels=2,
            **common,
        )
    )
model.eval()
vocabulary = model.config.vocab_size
frequencies = 1 / torch.arange(1, vocabulary + 1, dtype=torch.float64)
order = torch.randperm(vocabulary)


def draw(count):
    return order[torch.multinomial(frequencies, count, replacement=True)]


def gradient():
    """Loss of one batch that nobody has seen, and its tokens."""
    if given.model != "bert":
        ids = draw(given.batch * given.length).reshape(given.batch, given.length)
        if not given.padding:
            return model(input_ids=ids, labels=ids).loss, ids.tolist(), None
        texts, mask = [], torch.zeros_like(ids)
        for own, seen in zip(ids, mask):
            count = int(torch.randint(given.length // 3, given.length + 1, ()))
            part = slice(given.length - count, None) if given.padding == "left" else slice(count)
            seen[part] = 1
            texts.append(own[part].tolist())
        ids = torch.where(mask == 1, ids, 0)
        asked = ids if given.padding_loss else torch.where(mask == 1, ids, -100)
        return model(input_ids=ids, attention_mask=mask, labels=asked).loss, texts, None
    texts = []
    for _ in range(given.batch):
        count = int(torch.randint(6, given.length - 1, ()))
        texts.append([101, *(draw(count) % (vocabulary - 1000) + 999).tolist(), 102])
    longest = max(map(len, texts))
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    labels = torch.tensor([sum(text) % 2 for text in texts])
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss, texts, labels.tolist()


def train(steps, rate):
    optimiser = torch.optim.AdamW([own for own in model.parameters() if own.requires_grad], rate)
    for _ in range(steps):
        optimiser.zero_grad()
        gradient()[0].backward()
        optimiser.step()


if given.weights and os.path.exists(given.weights):
    model.load_state_dict(torch.load(given.weights, weights_only=True))
else:
    train(given.steps, 1e-4)
    if given.weights:
        torch.save(model.state_dict(), given.weights)
inner = model
if given.lora:
    import peft

    targets = {"gpt2": ["c_attn"], "bert": ["query", "value"]}.get(given.model, ["q_proj", "v_proj"])
    model = peft.get_peft_model(
        model,
        peft.LoraConfig(
            r=given.lora,
            lora_alpha=2 * given.lora,
            lora_dropout=0,
            target_modules=targets,
            task_type="SEQ_CLS" if given.model == "bert" else "CAUSAL_LM",
        ),
    )
    train(given.adapter_steps, 1e-3)
model.zero_grad()
loss, texts, labels = gradient()
loss.backward()
gradients = {name: own.grad for name, own in model.named_parameters() if own.grad is not None}
if given.noise:
    gradients = {name: own + given.noise * own.square().mean().sqrt() * torch.randn_like(own) for name, own in gradients.items()}
dtype = getattr(torch, given.dtype)
os.makedirs(given.folder)
weights = {name: own.detach().contiguous() for name, own in model.named_parameters()}
save_file(weights, f"{given.folder}/checkpoint.safetensors")
if given.lora:
    model.peft_config["default"].save_pretrained(given.folder)
save_file({name: own.to(dtype).contiguous() for name, own in gradients.items()}, f"{given.folder}/gradient.safetensors")
config = json.loads(inner.config.to_json_string()) | {"architectures": [type(inner).__name__]}
with open(f"{given.folder}/config.json", "w", encoding="utf-8") as file:
    json.dump(config, file)
with open(f"{given.folder}/texts.json", "w", encoding="utf-8") as file:
    json.dump({"tokens": texts, "labels": labels}, file)
