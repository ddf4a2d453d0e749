/** Reliability tables: stated confidence against the share that was right. */

export interface Claim {
  status: string;
  kind: string;
  classConfidence: number;
  kindConfidence: number;
  isClassRight: boolean | null;
  isKindRight: boolean | null;
  isTopInRange: boolean | null;
  isSmoothingInRange: boolean | null;
}

export interface Outcome {
  id: number;
  group: 'real' | 'wrong' | 'random';
  how: string;
  level: number;
  classes: number;
  batch: number;
  bias: boolean;
  state: string;
  network: string;
  kind: string;
  /** Smallest ||p - y|| of the batch. */
  gap: number;
  outcome: string;
  update: string | null;
  recovered: number;
  findings: string[];
  countErrors: number | null;
  claims: Claim[];
}

const BINS = [
  [0.99, 1.01],
  [0.95, 0.99],
  [0.8, 0.95],
  [0.5, 0.8],
  [0, 0.5],
] as const;

function reliability(title: string, claims: readonly { stated: number; right: boolean }[]): string[] {
  return [
    `| ${title} | claims | right | share |`,
    '| --- | ---: | ---: | ---: |',
    ...BINS.map(([low, high]) => {
      const own = claims.filter(({ stated }) => stated >= low && stated < high);
      const right = own.filter((claim) => claim.right).length;
      return `| ${low.toFixed(2)} to ${Math.min(high, 1).toFixed(2)} | ${own.length} | ${right} | ${own.length > 0 ? `${((100 * right) / own.length).toFixed(1)} %` : ''} |`;
    }),
    '',
  ];
}

const NOISE_BINS: readonly (readonly [string, (outcome: Outcome) => boolean])[] = [
  ['none', ({ how }) => how === 'none'],
  ['noise up to 1e-4', ({ how, level }) => how === 'noise' && level <= 1e-4],
  ['noise 1e-4 to 1e-3', ({ how, level }) => how === 'noise' && level > 1e-4 && level <= 1e-3],
  ['noise 1e-3 to 1e-2', ({ how, level }) => how === 'noise' && level > 1e-3 && level <= 1e-2],
  ['noise 1e-2 to 1e-1', ({ how, level }) => how === 'noise' && level > 1e-2],
  ...['float16', 'bfloat16', 'int8', 'top-k', 'sign', 'scale', 'dp'].map(
    (name) => [name, ({ how }: Outcome) => how === name] as const,
  ),
];

/** One sample with equations left over: K > 3 classes, not already explained to 1e-3 by the network. */
function isIdentifiable({ batch, classes, gap }: Outcome): boolean {
  return batch === 1 && classes > 3 && gap > 1e-3;
}

export function renderTables(outcomes: readonly Outcome[]): string {
  const real = outcomes.filter(({ group }) => group === 'real');
  const claims = real.flatMap((outcome) => outcome.claims);
  const single = real.filter(({ batch }) => batch === 1).flatMap((outcome) => outcome.claims);
  const several = real.filter(({ batch }) => batch > 1).flatMap((outcome) => outcome.claims);
  const share = (values: readonly (boolean | null)[]): string => {
    const known = values.filter((value) => value !== null);
    return `${known.filter(Boolean).length} of ${known.length}`;
  };
  const classes = (own: readonly Claim[]): { stated: number; right: boolean }[] =>
    own.flatMap((claim) =>
      claim.isClassRight === null ? [] : [{ stated: claim.classConfidence, right: claim.isClassRight }],
    );
  const kinds = (own: readonly Claim[]): { stated: number; right: boolean }[] =>
    own.flatMap((claim) =>
      claim.isKindRight === null ? [] : [{ stated: claim.kindConfidence, right: claim.isKindRight }],
    );
  const quiet = real.filter(
    (own) => isIdentifiable(own) && (own.how === 'none' || (own.how === 'noise' && own.level <= 1e-4)),
  );
  const states = (own: Outcome): boolean => own.claims.some((claim) => claim.classConfidence >= 0.99);
  const foreign = (group: string): string => {
    const own = outcomes.filter((outcome) => outcome.group === group);
    const above = own.flatMap(({ findings }) => findings.filter((finding) => !finding.startsWith('low:')));
    const names = [...new Set(above)].map((name) => `${above.filter((one) => one === name).length} x ${name}`);
    const outcomeNames = [...new Set(own.map(({ outcome }) => outcome))].map(
      (name) => `${own.filter(({ outcome }) => outcome === name).length} ${name}`,
    );
    return `${own.length} cases; recovered samples: ${own.reduce((sum, { recovered }) => sum + recovered, 0)}; outcomes: ${outcomeNames.join(', ')}; findings above low: ${names.join(', ') || 'none'}.`;
  };
  const counted = real.flatMap(({ countErrors }) => (countErrors === null ? [] : [countErrors]));
  return [
    '# Calibration',
    '',
    `Stated confidence against the share that was right: ${real.length} gradients of PyTorch networks, of which ${real.filter(({ batch }) => batch === 1).length} are of one sample. Made and audited by \`npm run calibrate\`.`,
    '',
    ...reliability('class, all', classes(claims)),
    ...reliability('class, one sample', classes(single)),
    ...reliability('class, samples of batches', classes(several)),
    ...reliability('kind, all', kinds(claims)),
    ...reliability('kind, one sample', kinds(single)),
    ...reliability('kind, samples of batches', kinds(several)),
    `The label's largest entry lies in its 95 % interval: ${share(claims.map((claim) => claim.isTopInRange))}. Epsilon in its interval: ${share(claims.map((claim) => claim.isSmoothingInRange))}.`,
    '',
    `Counts stated as computed: ${counted.length} batches, ${counted.filter((errors) => errors > 0).length} with a wrong class.`,
    '',
    `Identifiable (one sample, K > 3, ||p - y|| > 1e-3) without noise or with at most 1e-4: ${quiet.filter(states).length} of ${quiet.length} state their class with 0.99 or more.`,
    '',
    '| one sample | cases | recovered | class right of stated >= 0.99 | kind right of stated >= 0.98 | kind left open |',
    '| --- | ---: | ---: | ---: | ---: | ---: |',
    ...NOISE_BINS.map(([name, filter]) => {
      const own = real.filter((outcome) => outcome.batch === 1 && filter(outcome));
      const all = own.flatMap((outcome) => outcome.claims);
      const sure = all.filter(({ classConfidence }) => classConfidence >= 0.99);
      const told = all.filter(
        ({ kind, kindConfidence }) => kind !== 'undetermined' && kind !== 'other' && kindConfidence >= 0.98,
      );
      return `| ${name} | ${own.length} | ${own.filter(({ recovered }) => recovered > 0).length} | ${sure.filter(({ isClassRight }) => isClassRight).length} of ${sure.length} | ${told.filter(({ isKindRight }) => isKindRight).length} of ${told.length} | ${all.filter(({ kind }) => kind === 'undetermined').length} |`;
    }),
    '',
    `Gradients with another network's checkpoint: ${foreign('wrong')}`,
    '',
    `Random numbers in the shape of gradients: ${foreign('random')}`,
    '',
  ].join('\n');
}
