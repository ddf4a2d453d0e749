import { EngineError, type EngineId } from './engine.js';
import { checkEngine } from './check.js';
import { makeEngine } from './make-engine.js';

/** Entry of a throw-away process that finds out whether an engine works: a broken driver may take its process along. */

async function probe(id: EngineId, tfjsFolder: string | undefined): Promise<string> {
  try {
    const engine = await makeEngine(id, { tfjsFolder });
    await checkEngine(engine);
    return JSON.stringify({ works: true, detail: engine.description });
  } catch (error) {
    const detail = error instanceof EngineError ? error.message : String(error);
    return JSON.stringify({ works: false, detail });
  }
}

const [id, tfjsFolder] = process.argv.slice(2);
void probe(id as EngineId, tfjsFolder === '' ? undefined : tfjsFolder).then((answer) => {
  // Libraries print to standard output as well, so the answer is marked; some keep the process alive.
  process.stdout.write(`\ngradleak-probe ${answer}\n`, () => process.exit(0));
});
