import { generator } from '../../src/recovery/paper-method.js';
import { killQueue } from './queue.js';
import { type Ended, KillTest, type Kind, type Signal } from './rounds.js';

/** `npm run kill -- [count] [seed]`: as many rounds of each kind, and what came of them; `-- queue`: see queue.ts. */

const isQueue = process.argv[2] === 'queue';
const [count = 100, seed = 1] = isQueue ? [] : process.argv.slice(2).map(Number);
/** Rounds that run side by side: they mostly wait. */
const SIDE_BY_SIDE = 3;

async function rounds(test: KillTest, signal: Signal, random: () => number): Promise<Ended[]> {
  const done: Ended[] = [];
  let left = count;
  const work = async (): Promise<void> => {
    while (left-- > 0) {
      done.push(await test.round(signal, random));
    }
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, work));
  return done;
}

async function main(): Promise<void> {
  const random = generator(seed);
  for (const kind of ['project', 'single'] satisfies Kind[]) {
    const test = new KillTest(kind);
    await test.prepare();
    for (const signal of ['SIGKILL', 'SIGINT'] satisfies Signal[]) {
      const done = await rounds(test, signal, random);
      const bad = done.filter(({ problems }) => problems.length > 0);
      const codes = new Map<number, number>();
      for (const { code } of done) {
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }
      const told = [...codes].map(([code, times]) => `${times} with ${code}`).join(', ');
      console.log(`${kind} ${signal}: ${done.length} rounds, ended ${told}; ${bad.length} with problems`);
      for (const { at, code, problems } of bad) {
        console.log(`  after ${Math.round(at)} ms, ${code}: ${problems.join('; ')}`);
        process.exitCode = 1;
      }
    }
    test.dispose();
  }
}

async function queue(): Promise<void> {
  const [jobs = 1000, kills = 20, own = 1] = process.argv.slice(3).map(Number);
  const { problems, ...figures } = await killQueue(jobs, kills, own);
  console.log(JSON.stringify(figures));
  for (const problem of problems.slice(0, 20)) {
    console.log(`  ${problem}`);
    process.exitCode = 1;
  }
}

void (isQueue ? queue() : main());
