import { UnusableInputError } from '../protocol/errors.js';
import type { Place } from './requests.js';

/** Whether a place is in an object store: `s3://bucket/prefix`. */
export function isRemote(place: string): boolean {
  return place.startsWith('s3://');
}

/** @throws UnusableInputError when it is no such address */
export function placeOf(address: string): Place {
  const [, bucket, prefix] = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/.exec(address) ?? [];
  if (bucket === undefined) {
    throw new UnusableInputError({
      code: 'bad-arguments',
      file: address,
      found: 'an address without a bucket',
      expected: 's3://bucket/prefix',
      advice: 'See "gradleak --help".',
    });
  }
  const trimmed = (prefix ?? '').replace(/\/+$/, '');
  return { bucket, prefix: trimmed === '' ? '' : `${trimmed}/` };
}

/** A place within another. @param name with forward slashes */
export function within({ bucket, prefix }: Place, name: string): Place {
  return { bucket, prefix: name === '' || name === '.' ? prefix : `${prefix}${name}/` };
}
