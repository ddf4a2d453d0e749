import { UnusableInputError } from '../protocol/errors.js';
import { type ByteSource, openFile } from './byte-source.js';
import { looksLikeNpy, openNpy } from './npy.js';
import { looksLikeNpz, openNpz } from './npz.js';
import { looksLikeSafetensors, openSafetensors } from './safetensors.js';
import { INDEX_EXTENSIONS, isShardIndex, openSharded } from './sharded.js';
import type { TensorFile } from './tensor-file.js';
import { looksLikePickle, openTorchLegacy, openTorchZip, torchArchiveRoot } from './torch.js';
import { looksLikeZip, openZip } from './zip.js';

/** File name endings that the readers know; the content decides, the ending only suggests. */
export const TENSOR_FILE_EXTENSIONS = ['.pt', '.pth', '.bin', '.ckpt', '.safetensors', '.npz', '.npy', '.pkl'] as const;

/** Whether a file is named as tensor files, or the indices of sharded ones, are. */
export function isTensorFileName(name: string): boolean {
  return [...TENSOR_FILE_EXTENSIONS, ...INDEX_EXTENSIONS].some((ending) => name.endsWith(ending));
}

/**
 * Opens a tensor file of any supported format, told by its content. Only its directory is read.
 *
 * @throws UnusableInputError when it is missing, not a tensor file, damaged or hostile
 */
export function openTensorFile(path: string): TensorFile {
  return openTensorSource(openFile(path));
}

/** The same for bytes that are already open; closes the source when opening fails. */
export function openTensorSource(source: ByteSource): TensorFile {
  try {
    return sniff(source);
  } catch (error) {
    source.close();
    throw error;
  }
}

function sniff(source: ByteSource): TensorFile {
  if (source.size === 0) {
    throw notTensors(source.path, 'an empty file');
  }
  if (isShardIndex(source.path)) {
    return openSharded(source, sniff);
  }
  if (looksLikeZip(source)) {
    return openArchive(source);
  }
  const head = source.read(0, Math.min(source.size, 16));
  if (looksLikeNpy(head)) {
    return openNpy(source);
  }
  if (looksLikePickle(head)) {
    return openTorchLegacy(source);
  }
  if (looksLikeSafetensors(source)) {
    return openSafetensors(source);
  }
  throw notTensors(source.path, describeHead(head));
}

function openArchive(source: ByteSource): TensorFile {
  const archive = openZip(source);
  const root = torchArchiveRoot(archive);
  if (root !== undefined) {
    return openTorchZip(source, archive, root);
  }
  if (looksLikeNpz(archive)) {
    return openNpz(source, archive);
  }
  throw notTensors(source.path, 'a zip archive with neither data.pkl (PyTorch) nor .npy members (numpy)');
}

function notTensors(file: string, found: string): UnusableInputError {
  return new UnusableInputError({
    code: 'not-a-tensor-file',
    file,
    found,
    expected: 'a PyTorch (.pt, .pth, .bin, .ckpt), safetensors or numpy (.npz, .npy) file',
    advice: 'Save the tensors with torch.save, safetensors or np.savez.',
  });
}

function describeHead(head: Uint8Array): string {
  const hdf5 = [0x89, 0x48, 0x44, 0x46].every((byte, index) => head[index] === byte);
  if (hdf5) {
    return 'an HDF5 file';
  }
  const text = new TextDecoder('latin1').decode(head);
  if (text.includes('ustar') || /^[\x20-\x7e\r\n\t]+$/.test(text)) {
    return `text or another format that begins with ${JSON.stringify(text)}`;
  }
  return `bytes that begin with ${[...head.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}`;
}
