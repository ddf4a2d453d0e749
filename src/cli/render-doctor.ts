import { CPU_ENGINES, GPU_ENGINES, probeEngine } from '../engine/choose.js';

/** Which engines work on this machine, each tried in a process of its own. */
export async function renderDoctor(): Promise<string> {
  const ids = [...GPU_ENGINES, ...CPU_ENGINES];
  const results = await Promise.all(ids.map((id) => probeEngine(id)));
  const width = Math.max(...ids.map((id) => id.length));
  const lines = results.map(
    ({ id, works, detail }) => `  ${works ? 'works' : '  -  '}  ${id.padEnd(width)}  ${detail}`,
  );
  return [
    `Node ${process.version} on ${process.platform} ${process.arch}. Each engine computed a small second-order gradient, checked against float64:`,
    ...lines,
    '"auto" takes the first that works; GPU engines are tried when a step is large enough to gain.',
    '',
  ].join('\n');
}
