import type { PickleGlobal } from './pickle-values.js';
import type { ForeignGlobal } from './tensor-file.js';

/**
 * Which names a pickle may mention. The list of known names follows what `torch.load(weights_only=True)`
 * accepts, with numpy's array constructors and the containers that training scripts store.
 */

const KNOWN = new Set([
  'collections.OrderedDict',
  'collections.defaultdict',
  'collections.Counter',
  'collections.deque',
  '_codecs.encode',
  'copyreg._reconstructor',
  'copy_reg._reconstructor',
  'argparse.Namespace',
  'types.SimpleNamespace',
  'datetime.datetime',
  'datetime.timedelta',
  'pathlib.PosixPath',
  'pathlib.WindowsPath',
  'pathlib.PurePosixPath',
  'pathlib._local.PosixPath',
  'torch.Size',
  'torch.device',
  'torch.dtype',
  'torch.Tensor',
  'torch.tensor',
  'torch.Generator',
  'torch.nn.parameter.Parameter',
  'torch.nn.parameter.Buffer',
  'torch.nn.Parameter',
  'torch.serialization._get_layout',
  'torch.storage.UntypedStorage',
  'torch.storage._UntypedStorage',
  'torch.storage.TypedStorage',
  'torch.storage._TypedStorage',
  'torch.UntypedStorage',
  'torch.TypedStorage',
  'torch._tensor._rebuild_from_type_v2',
  'torch._tensor._rebuild_from_type',
  'torch.jit._pickle.build_intlist',
  'torch.jit._pickle.build_tensorlist',
  'torch.jit._pickle.build_doublelist',
  'torch.jit._pickle.build_boollist',
  'torch.jit._pickle.build_tensor_from_id',
  'torch.jit._pickle.restore_type_tag',
  'numpy.ndarray',
  'numpy.dtype',
  'numpy.core.multiarray._reconstruct',
  'numpy.core.multiarray.scalar',
  'numpy._core.multiarray._reconstruct',
  'numpy._core.multiarray.scalar',
  'numpy.core.numeric._frombuffer',
  'numpy._core.numeric._frombuffer',
  ...[
    'set frozenset list dict tuple int float bool str bytes bytearray complex slice range object',
    'Ellipsis NotImplemented',
  ].flatMap((names) => names.split(' ').flatMap((name) => [`builtins.${name}`, `__builtin__.${name}`])),
]);

const KNOWN_PATTERNS = [
  /^torch\.(cuda\.)?(Double|Float|Half|BFloat16|Long|Int|Short|Char|Byte|Bool|ComplexFloat|ComplexDouble|QInt8|QUInt8|QInt32)Storage$/,
  /^torch\._utils\._rebuild_[a-z0-9_]+$/,
  /^torch\.(float|bfloat|int|uint|complex|bool|half|double|long|short|quint|qint|per_|channels_|contiguous|strided|sparse|preserve)[a-z0-9_]*$/,
  /^numpy\.(dtypes\.\w+DType|(u?int|float|complex)\d+|bool_?)$/,
];

/** Modules whose functions run commands, code or reach outside; the call of any of them is an attack. */
const DANGEROUS_MODULES = new Set(
  (
    'os posix nt posixpath ntpath subprocess sys socket shutil runpy importlib pty ctypes marshal code codeop commands popen2 ' +
    'webbrowser requests urllib http ftplib smtplib telnetlib pickle _pickle cPickle dill cloudpickle joblib asyncio multiprocessing ' +
    'threading signal inspect operator functools types tempfile platform pip pdb bdb timeit cProfile profile trace idlelib doctest ' +
    'builtins __builtin__ torch.hub torch.utils.cpp_extension torch.jit._script numpy.testing zipimport pkgutil site gc fileinput io _io'
  ).split(' '),
);

/** Methods and loaders that run code although their module looks harmless. */
const DANGEROUS_NAMES = new Set([
  'torch.load',
  'torch.serialization.load',
  'torch.storage._load_from_bytes',
  'torch.jit.load',
  'torch._inductor.codecache.compile_file',
  'torch.fx.graph_module.reduce_graph_module',
  'numpy.load',
  'numpy.f2py.crackfortran.getlincoef',
]);

/**
 * Sorts a pickle's globals: known ones are left out, the others are named with what loading would do.
 */
export function foreignGlobals(globals: readonly PickleGlobal[]): ForeignGlobal[] {
  return globals
    .filter(({ module, name }) => !isKnown(`${module}.${name}`))
    .map(({ module, name, called }) => ({ module, name, called, risk: riskOf(module, name) }));
}

/** Those of several files, each once. */
export function mergedGlobals(globals: readonly ForeignGlobal[]): ForeignGlobal[] {
  const found = new Map<string, ForeignGlobal>();
  for (const own of globals) {
    const name = `${own.module}.${own.name}`;
    found.set(name, { ...own, called: own.called || found.get(name)?.called === true });
  }
  return [...found.values()];
}

function isKnown(qualified: string): boolean {
  return KNOWN.has(qualified) || KNOWN_PATTERNS.some((pattern) => pattern.test(qualified));
}

function riskOf(module: string, name: string): ForeignGlobal['risk'] {
  const root = module.split('.')[0] ?? module;
  const dangerous =
    DANGEROUS_MODULES.has(module) || DANGEROUS_MODULES.has(root) || DANGEROUS_NAMES.has(`${module}.${name}`);
  if (dangerous) {
    return 'dangerous';
  }
  // A dotted or lower-case name is a function or method; classes are what torch.save(model) stores.
  return /^_?[A-Z]/.test(name) ? 'class' : 'unknown';
}
