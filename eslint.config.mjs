import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** A door between two rooms of src/: what a room must not import, with the reason. */
const door = (files, patterns) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns }] },
});
const vscode = { group: ['vscode'], message: 'Only src/extension/ imports vscode.' };
const rooms = (names, message) => ({ group: names.flatMap((name) => [`**/${name}/**`, `../${name}/*`]), message });
const ROOMS = [
  'protocol',
  'formats',
  'graph',
  'network',
  'engine',
  'recovery',
  'defences',
  'facts',
  'methods',
  'audit',
  'kinds',
  'inspection',
  'scripts',
  'project',
  'shards',
  'remote',
  'queue',
  'runner',
  'cli',
  'extension',
  'words',
];
/** A new room is closed to all that do not name it. */
const allBut = (open, message) =>
  rooms(
    ROOMS.filter((room) => !open.includes(room)),
    message,
  );
const nodeFiles = {
  regex: '^(node:)?(fs|fs/promises|path|child_process|os|net|http|https|worker_threads|process)$',
  message: 'Pure numerics: no files, no processes.',
};

export default tseslint.config(
  { ignores: ['dist', 'out', 'node_modules', 'test/fixtures', 'media'] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked.map((config) => ({ ...config, files: ['**/*.ts'] })),
  ...tseslint.configs.stylisticTypeChecked.map((config) => ({ ...config, files: ['**/*.ts'] })),
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      curly: 'error',
      eqeqeq: 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidOperator: true, ignoreVoidReturningFunctions: true },
      ],
    },
  },
  {
    // In numerics the loop's bounds say what the index type cannot.
    files: [
      'src/recovery/**',
      'src/defences/**',
      'src/graph/**',
      'src/network/**',
      'src/engine/**',
      'src/methods/input/**',
      'src/methods/texts/**',
      'src/formats/write-picture.ts',
      'src/inspection/**',
      'src/kinds/**',
    ],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  {
    files: ['**/*.mjs'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } },
  },
  {
    files: ['test/**'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  door(['src/protocol/**'], [vscode, allBut(['protocol'], 'The protocol depends on nothing.')]),
  door(
    ['src/formats/**'],
    [vscode, allBut(['formats', 'protocol'], 'A reader of a file format knows nothing of attacks.')],
  ),
  door(['src/graph/**'], [vscode, nodeFiles, allBut(['graph'], 'The graph is arithmetic and knows nothing else.')]),
  door(
    ['src/network/**'],
    [
      vscode,
      nodeFiles,
      allBut(['network', 'protocol', 'formats', 'graph'], 'A network knows neither attacks nor engines.'),
    ],
  ),
  door(
    ['src/engine/**'],
    [vscode, allBut(['engine', 'protocol', 'formats', 'graph'], 'An engine runs graphs, whatever they mean.')],
  ),
  door(
    ['src/recovery/**'],
    [
      vscode,
      nodeFiles,
      allBut(['recovery', 'protocol', 'graph', 'network', 'engine'], 'Recovery knows neither files nor editors.'),
      {
        regex: '/engine/(?!engine\\.js$)',
        message: 'Recovery is handed an engine; which one is not its business.',
      },
    ],
  ),
  door(['src/words/**'], [vscode, nodeFiles, allBut(['words', 'protocol'], 'Words are said of reports alone.')]),
  door(
    ['src/kinds/**'],
    [vscode, allBut(['kinds', 'protocol', 'formats'], 'What a file is, is settled before any attack.')],
  ),
  door(
    ['src/inspection/**'],
    [
      vscode,
      allBut(
        ['inspection', 'kinds', 'protocol', 'formats', 'facts', 'network'],
        'Looking at tensors knows nothing of attacks.',
      ),
      {
        // Which model a file is of and how its tokens read is told in one place, for audits and for the screen.
        regex: '/facts/(?!(transformer-beside|vocabulary)\\.js$)|/network/(?!transformers/transformer\\.js$)',
        message: 'Of facts, looking needs what lies beside a file; of networks, how a transformer is described.',
      },
    ],
  ),
  door(
    ['src/scripts/**'],
    [vscode, nodeFiles, allBut(['scripts', 'protocol'], 'Reading a training script knows neither files nor attacks.')],
  ),
  door(
    ['src/project/**'],
    [
      vscode,
      allBut(
        ['project', 'protocol', 'formats', 'facts', 'audit', 'words'],
        'A project is many audits; how one is done or run is not its business.',
      ),
    ],
  ),
  door(
    ['src/facts/**'],
    [
      vscode,
      allBut(
        ['facts', 'protocol', 'formats', 'kinds', 'network', 'recovery'],
        'A fact is derived from the inputs; which methods use it is not its business.',
      ),
    ],
  ),
  door(
    ['src/methods/**'],
    [
      vscode,
      allBut(
        ['methods', 'facts', 'protocol', 'formats', 'graph', 'network', 'engine', 'recovery', 'defences', 'words'],
        'A method knows what it is given, and not who asks for it.',
      ),
    ],
  ),
  door(
    ['src/defences/**'],
    [
      vscode,
      nodeFiles,
      allBut(['defences', 'protocol', 'recovery'], 'A defence changes numbers, and knows no attack.'),
    ],
  ),
  door(
    ['src/audit/**'],
    [
      vscode,
      allBut(
        ['audit', 'methods', 'facts', 'protocol', 'formats', 'engine', 'recovery', 'defences', 'words'],
        'The pipeline does not know who runs it.',
      ),
      {
        regex: '/methods/(?!(method|reconstruction-report)\\.js$|head/|[^/]+/describe-[^/]+$)',
        message:
          'Methods come from the registry; only the head, whose samples are the core of a report, is known by name.',
      },
    ],
  ),
  door(
    // The one file that names every method.
    ['src/audit/registry.ts'],
    [vscode, allBut(['methods'], 'The registry lists methods, nothing else.')],
  ),
  door(
    ['src/shards/**'],
    [
      vscode,
      allBut(
        ['shards', 'project', 'protocol', 'formats', 'audit'],
        'Shards are audits of a project on many machines; how one is done or run is not their business.',
      ),
    ],
  ),
  door(
    ['src/remote/**'],
    [
      vscode,
      allBut(
        ['remote', 'shards', 'protocol', 'formats', 'audit'],
        'An object store holds files and results; what is in them, others know.',
      ),
    ],
  ),
  door(
    // The reader of a mirror has no business with results.
    ['src/remote/{remote-files,mirror,s3-client,s3-thread,requests,address}.ts'],
    [vscode, allBut(['remote', 'protocol', 'formats'], 'Reading objects knows neither audits nor shards.')],
  ),
  door(
    ['src/queue/**'],
    [
      vscode,
      allBut(
        ['queue', 'shards', 'project', 'protocol', 'audit'],
        'A queue hands jobs out; what a job is, shards know.',
      ),
    ],
  ),
  door(
    ['src/runner/**'],
    [
      vscode,
      allBut(
        ['runner', 'protocol', 'formats', 'engine', 'facts', 'audit', 'kinds', 'inspection', 'project', 'remote'],
        'The child process only serves the pipeline.',
      ),
    ],
  ),
  door(
    // The one child that knows queues, and no audits.
    ['src/runner/queue-{runner,server}.ts'],
    [
      vscode,
      allBut(
        ['runner', 'protocol', 'audit', 'shards', 'remote', 'queue'],
        'The child that speaks with a queue only serves what queues and shards do.',
      ),
      {
        regex: '/audit/(?!version\\.js$)|/runner/(?!(answers|child|queue-server)\\.js$)',
        message: 'It does no audits.',
      },
    ],
  ),
  door(
    ['src/cli/**'],
    [
      vscode,
      allBut(
        [
          'cli',
          'protocol',
          'formats',
          'defences',
          'graph',
          'network',
          'engine',
          'facts',
          'methods',
          'audit',
          'kinds',
          'inspection',
          'project',
          'shards',
          'remote',
          'queue',
          'runner',
          'words',
        ],
        'The command line only calls the pipeline.',
      ),
      { regex: '/runner/(?!(client|pool|runtime)\\.js$)', message: 'The command line is a host of children, not one.' },
    ],
  ),
  door(['src/extension/**'], [rooms(['recovery'], 'Heavy work belongs to the child process.')]),
  {
    // What files say reaches these places only through the one function that makes it harmless there.
    files: ['src/extension/**'],
    ignores: ['src/extension/notifications.ts', 'src/extension/questions.ts', 'src/extension/view-messages.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector: 'MemberExpression[property.name=/^show(Information|Warning|Error)Message$/]',
          message: 'Notifications run commands that a text links to: see notifications.ts.',
        },
        {
          selector: 'MemberExpression[property.name=/^show(QuickPick|InputBox)$/]',
          message: 'A panel that takes the focus late must not close what was asked: see questions.ts.',
        },
        {
          selector: 'MemberExpression[property.name="onDidReceiveMessage"]',
          message: 'Messages of a view are checked when they come in: see view-messages.ts.',
        },
        {
          selector: 'NewExpression[callee.property.name="MarkdownString"][arguments.length>0]',
          message: 'Text is no Markdown: use appendText.',
        },
      ],
    },
  },
  door(
    ['webview/**'],
    [
      vscode,
      {
        regex: '/src/(?!(protocol|words)/)',
        message: 'The webview shares the protocol and the words, and nothing else.',
      },
      { group: ['@vscode/webview-ui-toolkit*'], message: 'Only webview/ui/ knows the component library.' },
    ],
  ),
  { files: ['webview/ui/**'], rules: { 'no-restricted-imports': 'off' } },
);
