import { answerAndExit, endWithParent } from '../formats/throw-away-process.js';
import { EngineError, type EngineId } from './engine.js';
import { checkEngine } from './check.js';
import { makeEngine } from './make-engine.js';

/** Entry of a throw-away process that finds out whether an engine works: a broken driver may take its process along. */

async function probe(id: EngineId, tfjsFolder: string | undefined): Promise<{ works: boolean; detail: string }> {
  try {
    const engine = await makeEngine(id, { tfjsFolder });
    await checkEngine(engine);
    return { works: true, detail: engine.description };
  } catch (error) {
    const detail = error instanceof EngineError ? error.message : String(error);
    return { works: false, detail };
  }
}

const [id, tfjsFolder] = process.argv.slice(2);
endWithParent();
void probe(id as EngineId, tfjsFolder === '' ? undefined : tfjsFolder).then(answerAndExit);
